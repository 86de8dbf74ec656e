//! Finding and opening the program inside the container's tree.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use trireme_core::cache::FileIdentity;
use trireme_core::plan::Plan;
use trireme_core::program::FileKind;
use trireme_engine::Kind;

use super::rootfs::Tree;
use super::{InitError, mounting};
use crate::Doing;

/// What Docker puts before the program for `docker run --init`.
const DOCKER_INIT: &str = "/sbin/docker-init";
/// The bits of a mode that let somebody execute the file.
const ANYBODY_EXECUTES: u32 = 0o111;

/// A program that was found.
#[derive(Debug)]
pub struct Program {
    /// The file, open for reading.
    pub file: File,
    /// Module or component.
    pub kind: Kind,
    /// What it is known by, where that can be trusted.
    pub identity: Option<FileIdentity>,
}

/// Opens the plan's entry point as execvp(3) would find it inside the tree: by
/// its path, or a bare name in the folders of the container's `PATH` and then
/// in its working directory.
///
/// # Errors
///
/// [`InitError::Missing`] or [`InitError::NoEntry`] when it names no file,
/// [`InitError::Native`] when it is a Linux program; others when the file cannot
/// be read or is neither.
pub fn open(tree: &Tree, plan: &Plan) -> Result<Program, InitError> {
    let name = plan.entry.path.as_str();
    if plan.args.is_empty() {
        return Err(InitError::NoEntry);
    }
    if names_the_root(name) {
        return Err(missing(name, reason_of(&Errno::ISDIR.into())));
    }
    let file = find(tree.root(), plan, name)?;
    let refused = |reason: io::Error| InitError::Entry {
        path: name.to_owned(),
        reason: reason_of(&reason),
    };
    let metadata = file.metadata().map_err(refused)?;
    if metadata.is_dir() {
        return Err(refused(Errno::ISDIR.into()));
    }
    if !metadata.is_file() {
        return Err(refused(Errno::ACCESS.into()));
    }
    let mut head = [0; 512];
    let read = file.read_at(&mut head, 0).map_err(refused)?;
    let found = FileKind::recognise(&head[..read]);
    let Some(kind) = found.wasm() else {
        let mode = metadata.permissions().mode();
        let is_program = matches!(found, FileKind::Elf | FileKind::Script)
            && mode & ANYBODY_EXECUTES != 0
            && !starts_a_guest(tree, plan);
        return Err(if is_program {
            InitError::Native(name.to_owned())
        } else {
            not_wasm(plan, found, mode)
        });
    };
    let identity = tree.device_of(&metadata).map(|device| FileIdentity {
        device,
        ..FileIdentity::of(&metadata)
    });
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).doing(|| format!("open {name}"))?;
    Ok(Program {
        file,
        kind,
        identity,
    })
}

/// Whether it is Docker's init in front of a guest, which it cannot run.
fn starts_a_guest(tree: &Tree, plan: &Plan) -> bool {
    let guest = match plan.args.as_slice() {
        [init, dashes, guest, ..] if init == DOCKER_INIT && dashes == "--" => guest,
        _ => return false,
    };
    let mut head = [0; 512];
    let read = find(tree.root(), plan, guest).and_then(|file| {
        file.read_at(&mut head, 0)
            .map_err(|error| missing(guest, reason_of(&error)))
    });
    read.is_ok_and(|read| FileKind::recognise(&head[..read]).wasm().is_some())
}

fn find(root: BorrowedFd<'_>, plan: &Plan, name: &str) -> Result<File, InitError> {
    let is_path = name.contains('/');
    let mut denied = None;
    for path in candidates(plan, name) {
        // Without O_NONBLOCK a FIFO of the image would hold init up for ever.
        match mounting::open_in(
            root,
            &path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        ) {
            Ok(fd) => return Ok(File::from(fd)),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) if !is_path => {}
            Err(error) => denied = Some(error),
        }
    }
    if is_path && DEVICES.contains(&name) {
        denied.get_or_insert(Errno::ACCESS);
    }
    Err(match denied {
        None if is_path => missing(name, reason_of(&Errno::NOENT.into())),
        None => missing(name, "executable file not found in $PATH".into()),
        Some(error) => InitError::Entry {
            path: name.to_owned(),
            reason: reason_of(&error.into()),
        },
    })
}

/// The devices that the runtime specification has in every container
/// (`config-linux.md`, default devices). A guest has none; who names one as its
/// program is told the same as by a runtime that has them.
const DEVICES: [&str; 7] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
];

/// As commands do that mean the image's only program.
fn names_the_root(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte == b'/')
}

fn missing(name: &str, reason: String) -> InitError {
    InitError::Missing {
        path: name.to_owned(),
        reason,
    }
}

fn candidates(plan: &Plan, name: &str) -> Vec<PathBuf> {
    let cwd = Path::new(&plan.cwd);
    if name.contains('/') {
        return vec![cwd.join(name)];
    }
    let path = plan
        .env
        .iter()
        .find(|(key, _)| key == "PATH")
        .map_or("", |(_, value)| value);
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| Path::new(folder).join(name))
        .chain([cwd.join(name)])
        .collect()
}

/// The words of strerror(3) in lower case, which clients match on: Docker's
/// exit codes come from them (moby, `daemon/errors.go`).
fn reason_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".into(),
        Some(libc::EACCES | libc::EPERM) => "permission denied".into(),
        Some(libc::ENOTDIR) => "not a directory".into(),
        Some(libc::EISDIR) => "is a directory: permission denied".into(),
        Some(libc::ELOOP) => "too many levels of symbolic links".into(),
        _ => error.to_string(),
    }
}

fn not_wasm(plan: &Plan, found: FileKind, mode: u32) -> InitError {
    let path = &plan.entry.path;
    let remedy = match found {
        FileKind::Elf if path == DOCKER_INIT => {
            "a guest has no use for a native init; run it without --init"
        }
        FileKind::Elf | FileKind::Script => {
            "a Linux program has to be executable; change the file's mode"
        }
        FileKind::Text => "compile the text to a binary first, for instance with wat2wasm",
        _ => "the file is damaged or the entry point names another file than the program",
    };
    let denied = match mode & ANYBODY_EXECUTES {
        0 => format!(": exec: \"{path}\": permission denied"),
        _ => String::new(),
    };
    InitError::NotWasm {
        path: path.clone(),
        found,
        handler: plan.engine.handler.clone(),
        engine: plan.engine.engine.clone(),
        remedy,
        denied,
    }
}
