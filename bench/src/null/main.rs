//! A containerd shim that does nothing: the floor that every other is measured against.
//!
//! One server per container. It answers every call of the task service, versions 2 and 3, with
//! what the client needs to go on; it mounts nothing, isolates nothing, publishes no event. Create
//! forks a child that holds the output pipes, Start lets it exit with 0; under the name
//! `containerd-shim-null-sleep-v1` Kill does. Anything that a shim does beyond this, it does for a
//! reason of its own.

mod frame;
mod server;
mod wire;

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Error, Result, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

const SOCKETS: &str = "/run/containerd/s";
/// What the program is called where its tasks go on until they are killed.
const SLEEPS: &str = "containerd-shim-null-sleep-v1";

fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args_os().skip(1));
    match arguments.action.as_deref() {
        Some("start") => start(&arguments),
        // Nothing is left to remove; an empty reply is a valid one.
        Some("delete") => Ok(()),
        other => Err(Error::other(format!(
            "null shim: no action {other:?}: start and delete are"
        ))),
    }
}

/// The flags in Go's style that containerd passes, as far as they matter here.
#[derive(Default)]
struct Arguments {
    action: Option<String>,
    address: OsString,
    namespace: OsString,
    id: OsString,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = OsString>) -> Self {
        let mut parsed = Self::default();
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("-address") => parsed.address = words.next().unwrap_or_default(),
                Some("-namespace") => parsed.namespace = words.next().unwrap_or_default(),
                Some("-id") => parsed.id = words.next().unwrap_or_default(),
                Some("-publish-binary" | "-bundle" | "-socket") => drop(words.next()),
                Some("-debug") | None => {}
                Some(word) => parsed.action = Some(word.to_owned()),
            }
        }
        parsed
    }

    fn socket(&self) -> PathBuf {
        let mut hash = DefaultHasher::new();
        (&self.address, &self.namespace, &self.id).hash(&mut hash);
        Path::new(SOCKETS).join(format!("null-{:016x}", hash.finish()))
    }
}

/// Binds the socket, leaves a server on it, and tells containerd where it is.
fn start(arguments: &Arguments) -> Result<()> {
    let socket = arguments.socket();
    fs::create_dir_all(SOCKETS)?;
    let listener = UnixListener::bind(&socket)?;
    // SAFETY: this process has one thread, so that the child may do anything.
    match unsafe { fork() }? {
        ForkResult::Child => {
            leave_caller()?;
            server::serve(&listener, sleeps())?;
            fs::remove_file(&socket)
        }
        ForkResult::Parent { .. } => write!(std::io::stdout(), "unix://{}", socket.display()),
    }
}

fn sleeps() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    Path::new(&name)
        .file_name()
        .is_some_and(|name| name == SLEEPS)
}

/// containerd waits for the end of stdout and stderr.
fn leave_caller() -> Result<()> {
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(null.as_fd())?;
    dup2_stdout(null.as_fd())?;
    dup2_stderr(null.as_fd())?;
    setsid()?;
    Ok(())
}
