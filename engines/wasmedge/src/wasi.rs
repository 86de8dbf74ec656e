//! The guest's WASI: WasmEdge's own, on the descriptors and directories of the
//! container.

use std::ffi::{CString, c_char};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;

use rustix::fs::fstat;
use trireme_engine::{EngineError, Guest};

use crate::ffi::{self, ModuleInstance};
use crate::files;
use crate::owned::Owned;

/// The module under whose name it is imported.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// The number of the first directory.
const FIRST: i32 = 3;

/// How often WasmEdge is given the directories for their order.
const ATTEMPTS: usize = 64;

/// Functions that WasmEdge adds to WASI 0.1 and that need the network.
const SOCKETS: &str = "sock_";
/// Functions of WASI 0.1 itself, on descriptors that a guest has already.
const OF_WASI: [&str; 4] = ["sock_accept", "sock_recv", "sock_send", "sock_shutdown"];
/// Looks names up by `getaddrinfo(3)`, which would read files of the container's
/// image and load libraries that these name.
pub(crate) const NAME_LOOKUP: &str = "sock_getaddrinfo";

/// WASI, never deleted: its streams are the process's own.
pub(crate) struct Wasi(ManuallyDrop<Owned<ModuleInstance>>);

impl Wasi {
    /// One without arguments, environment or directories, to see what it has.
    pub(crate) fn empty() -> Result<Self, EngineError> {
        create(&[], &[], &[])
    }

    /// The guest's, whose descriptors from [`FIRST`] on are its directories in
    /// their order.
    pub(crate) fn of(guest: &Guest) -> Result<Self, String> {
        let args = texts(guest.args.iter().cloned())?;
        let env = texts(
            guest
                .env
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        )?;
        let directories = guest
            .directories
            .iter()
            .map(|directory| files::preopen(&guest.cwd, directory))
            .collect::<Result<Vec<_>, _>>()?;
        // WasmEdge sorts directories by where they are in its memory
        // (`Environ::init`); what is kept of an attempt moves the next.
        for _ in 0..ATTEMPTS {
            let made = create(&args, &env, &directories).map_err(|error| error.to_string())?;
            let mut dirs = guest.directories.iter().map(|directory| &directory.dir);
            if (FIRST..).zip(&mut dirs).all(|(fd, dir)| made.has(fd, dir)) {
                return Ok(made);
            }
        }
        Err("WasmEdge does not open the guest's directories in their order".into())
    }

    pub(crate) fn instance(&self) -> &Owned<ModuleInstance> {
        &self.0
    }

    /// The argument of `proc_exit`.
    pub(crate) fn exit_code(&self) -> u32 {
        // SAFETY: the object lives.
        unsafe { ffi::WasmEdge_ModuleInstanceWASIGetExitCode(self.0.get()) }
    }

    /// Whether a descriptor of the guest is this directory.
    fn has(&self, fd: i32, dir: &File) -> bool {
        let mut native = 0;
        // SAFETY: the object lives, and one number is written.
        let known = unsafe {
            ffi::WasmEdge_ModuleInstanceWASIGetNativeHandler(self.0.get(), fd, &raw mut native)
        };
        let Some(native) = i32::try_from(native).ok().filter(|_| known == 0) else {
            return false;
        };
        // SAFETY: WasmEdge keeps it open for as long as the object lives.
        let native = unsafe { BorrowedFd::borrow_raw(native) };
        let place = |fd: BorrowedFd<'_>| fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
        place(native) == place(dir.as_fd())
    }
}

/// Whether an import needs the network.
pub(crate) fn needs_network(name: &str) -> bool {
    name.starts_with(SOCKETS) && !OF_WASI.contains(&name)
}

fn create(args: &[CString], env: &[CString], directories: &[CString]) -> Result<Wasi, EngineError> {
    let (args, env, directories) = (pointers(args), pointers(env), pointers(directories));
    // SAFETY: WasmEdge copies all that it is lent, and the object is ours.
    let made = unsafe {
        let made = ffi::WasmEdge_ModuleInstanceCreateWASI(
            list(&args),
            args.len() as u32,
            list(&env),
            env.len() as u32,
            list(&directories),
            directories.len() as u32,
        );
        Owned::new(made, ffi::WasmEdge_ModuleInstanceDelete, "WASI")?
    };
    Ok(Wasi(ManuallyDrop::new(made)))
}

fn texts(texts: impl Iterator<Item = String>) -> Result<Vec<CString>, String> {
    texts
        .map(|text| CString::new(text).map_err(|error| error.to_string()))
        .collect()
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

fn list(pointers: &[*const c_char]) -> *const *const c_char {
    match pointers.is_empty() {
        true => ptr::null(),
        false => pointers.as_ptr(),
    }
}
