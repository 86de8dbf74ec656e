//! The limit on open files (`RLIMIT_NOFILE` of setrlimit(2)). containerd starts shims with the soft
//! one that it was started with itself, which under systemd is 1024, and a server of a node has
//! several files open for each container. What it starts is not to notice.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit};

/// What this process was started with, once it has raised its own.
static FORMER: OnceLock<Rlimit> = OnceLock::new();

/// Raises this process's soft limit to the hard one.
///
/// # Errors
///
/// The kernel's.
pub fn raise() -> io::Result<()> {
    let former = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: former.maximum,
        ..former
    };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    let _ = FORMER.set(former);
    Ok(())
}

/// Gives a process that this one has just started what this one was started with. There is nothing to
/// be done where that fails. Async-signal-safe, for what a child does before it executes a program.
pub fn restore() {
    if let Some(former) = FORMER.get() {
        let _ = rustix::process::setrlimit(Resource::Nofile, *former);
    }
}
