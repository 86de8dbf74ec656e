//! Linux programs in containers: everything that the OCI runtime specification
//! has for them, by `libcontainer`.
//!
//! A helper makes the container, tells its pid, and lets it run when told; then
//! it ends. The container's first process is the server's child, as a guest's
//! init is. The container's tree is mounted in the helper's mount namespace, so
//! that nothing of it appears in the host's.
//!
//! A Linux program that is executed beside another joins that one; beside a guest
//! it gets the container's other namespaces and a [`tree`] of its own.

#[cfg(feature = "native")]
mod confine;
#[cfg(feature = "native")]
pub mod create;
#[cfg(feature = "native")]
pub mod exec;
mod order;
#[cfg(feature = "native")]
mod program;
#[cfg(feature = "native")]
mod streams;
#[cfg(feature = "native")]
mod trace;
pub mod tree;

pub use order::{
    Confinement, ExecOrder, FromHelper, HelperOrder, left_hierarchies, refuse, specification,
};

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
#[cfg(feature = "native")]
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions};

#[cfg(feature = "native")]
use crate::link::Link;
#[cfg(feature = "native")]
use crate::process::{LINK_FD, PLAN_FD, SUBJECT_FD};
use crate::process::{ProcessId, children, is_held, kill_now};
use crate::{Doing, SysError};

/// How libcontainer names the process that makes a container's first one. That
/// one has this name too until it gives itself another.
const INTERMEDIATE: &str = "(youki:[1:INTER]";
/// How the names of both begin.
const EITHER: &str = "(youki:[";
/// How often it is looked for, and the pause between: it ends by itself at once.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// What a helper beside a container's first process is given: its link, its order and
/// that process, none of which it hands on to a program that it executes.
#[cfg(feature = "native")]
fn given() -> io::Result<(Link, File, OwnedFd)> {
    // SAFETY: the server hands these descriptors over by their numbers; nothing
    // else in this process knows of them.
    let [link, order, first] =
        [LINK_FD, PLAN_FD, SUBJECT_FD].map(|fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) });
    for fd in [&link, &order, &first] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok((Link::from(link), File::from(order), first))
}

/// Reaps what `libcontainer` leaves to the parent of a helper that has ended:
/// the process that made the container's first one.
///
/// # Errors
///
/// When the kernel does not tell a process's children.
pub fn reap_intermediates() -> Result<(), SysError> {
    reap_named(INTERMEDIATE)
}

/// The same after a helper that was killed, which may have left a container's first process too.
///
/// # Errors
///
/// When the kernel does not tell a process's children.
pub fn reap_left() -> Result<(), SysError> {
    reap_named(EITHER)
}

fn reap_named(beginning: &str) -> Result<(), SysError> {
    for _ in 0..LOOKS {
        let mut is_one_alive = false;
        for pid in children().doing(|| "list the server's children".into())? {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            match stat.rsplit_once(") ") {
                // Any program may call itself so.
                Some((name, _)) if is_held(pid) || !name.contains(beginning) => {}
                Some((_, state)) if state.starts_with('Z') => reap(pid),
                Some(_) => is_one_alive = true,
                None => {}
            }
        }
        if !is_one_alive {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// What a helper may have made that nobody knows of yet, known by the mount namespace that it has
/// from the helper. While this is there, no other namespace is given the same number.
#[derive(Debug)]
pub struct Offspring(File);

impl Offspring {
    /// That of a helper that is there and has a mount namespace of its own.
    #[must_use]
    pub fn of(helper: i32) -> Option<Self> {
        let namespace = File::open(place(&helper.to_string())).ok()?;
        Some(Self(namespace)).filter(|its| !its.is("self"))
    }

    /// Whether a process is of this mount namespace.
    fn is(&self, process: &str) -> bool {
        let [own, its] = [self.0.metadata(), fs::metadata(place(process))]
            .map(|namespace| namespace.map(|it| (it.dev(), it.ino())).ok());
        own.is_some() && own == its
    }

    /// Kills and reaps it once the helper has ended: `libcontainer` has it born as a child of the
    /// helper's parent, and it would go on making the container. It may have no name of its own yet.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell a process's children, or one does not end.
    pub fn kill(&self) -> Result<(), SysError> {
        let mut killed = Vec::new();
        for _ in 0..LOOKS {
            for pid in children().doing(|| "list the server's children".into())? {
                // In this order: the pid may be another's by then.
                let process = ProcessId::of(pid).and_then(ProcessId::open);
                if let Ok(Some(process)) = process
                    && !is_held(pid)
                    && self.is(&pid.to_string())
                {
                    kill_now(process.as_fd());
                    killed.push(process);
                }
            }
            killed.retain(|process| {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                let seen = rustix::process::waitid(WaitId::PidFd(process.as_fd()), options);
                matches!(seen, Ok(None))
            });
            if killed.is_empty() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        let late = io::Error::from(io::ErrorKind::TimedOut);
        Err(late).doing(|| "kill what a helper has made".into())
    }
}

/// Where the mount namespace of a process is.
fn place(process: &str) -> String {
    format!("/proc/{process}/ns/mnt")
}

/// Reaps a child that has ended; what is no child is left alone.
fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    }
}
