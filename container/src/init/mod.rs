//! What init does before a guest's first instruction.
//!
//! The order, which `trireme-executor init` keeps:
//!
//! 1. [`harden`]: no debugger, death with the server's thread, no descriptor
//!    but the ones it was given.
//! 2. [`order::receive`]: joins the cgroup, before anything that costs memory or time, and waits
//!    for Create where the process was made before that. An engine may be set up meanwhile, and
//!    file systems in memory.
//! 3. [`namespaces::enter`]: the ones to join, names, kernel parameters.
//! 4. [`rootfs::Tree::build`]: every mount, in init's own mount namespace.
//! 5. [`program::open`]: the program, resolved inside the tree.
//! 6. [`rootfs::Tree::enter`]: pivot, after which no path of the host is left.
//! 7. [`credentials::drop_all`]: user, groups, limits, capabilities, filter.

pub mod credentials;
mod isolate;
pub(crate) mod mounting;
pub mod namespaces;
pub mod order;
pub mod program;
pub mod rootfs;
pub mod signals;

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use rustix::process::{DumpableBehavior, Signal};
use trireme_core::program::FileKind;

pub use isolate::{isolate_compiler, isolate_pause};

use crate::{Doing, SysError, sys};

/// Why a container cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The kernel refused a step.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The entry point is not there, or no file. The wording is the one by
    /// which Docker tells exit status 127 from 126.
    #[error("exec: \"{path}\": {reason}")]
    Entry {
        /// The entry point as the specification has it.
        path: String,
        /// What is wrong, in the words of `strerror(3)`.
        reason: String,
    },
    /// The entry point names nothing in the container's tree, with the wording
    /// of [`InitError::Entry`]. It may be in the image all the same: where that
    /// is an OCI artifact, its programs are in no tree.
    #[error("exec: \"{path}\": {reason}")]
    Missing {
        /// The entry point as the specification has it.
        path: String,
        /// What is wrong, in the words of `strerror(3)`.
        reason: String,
    },
    /// There is no entry point; an OCI artifact may hold the only program.
    #[error("the container's specification has no process.args; let the command name the program")]
    NoEntry,
    /// The entry point is a file that this engine does not run.
    #[error(
        "{path}: {found}; handler \"{handler}\" runs WebAssembly with engine \"{engine}\", and Linux programs: {remedy}{denied}"
    )]
    NotWasm {
        /// The entry point.
        path: String,
        /// What the file is.
        found: FileKind,
        /// The handler.
        handler: String,
        /// Its engine.
        engine: String,
        /// What to do.
        remedy: &'static str,
        /// For a file that nobody may execute, what exec(2) would say of it;
        /// else nothing. A runtime for Linux programs tells nothing else.
        denied: String,
    },
    /// The entry point is a Linux program.
    #[error("{0}: a Linux program")]
    Native(String),
    /// A part of the host's tree that a guest must not have.
    #[error("mount {destination}: a Wasm guest must not reach {fstype}; remove this mount")]
    Forbidden {
        /// Where it appears in the container.
        destination: String,
        /// The kernel's file system.
        fstype: String,
    },
}

/// The first thing that init and whatever works beside it do: they cannot be looked into, they
/// do not outlive the server's thread, and they have no descriptor after the
/// `last` one that they were given.
///
/// # Errors
///
/// The kernel's.
pub fn harden(last: RawFd) -> Result<(), SysError> {
    not_dumpable()?;
    die_with_parent()?;
    sys::close_from(last + 1).doing(|| "close inherited descriptors".into())
}

/// Checks, while there is a /proc, that this process has one thread: another
/// would keep the privileges that this one drops, which are each thread's own.
///
/// # Errors
///
/// When there is more than one.
pub fn is_alone() -> Result<(), SysError> {
    let what = || "drop privileges".to_owned();
    // Two links, and one for each thread.
    match fs::metadata("/proc/self/task").doing(what)?.nlink() {
        3 => Ok(()),
        links => Err(io::Error::other(format!(
            "the engine has started {} threads of its own",
            links.saturating_sub(3)
        )))
        .doing(what),
    }
}

/// Keeps others from looking into this process. A change of credentials may undo it
/// (`fs.suid_dumpable`).
pub(crate) fn not_dumpable() -> Result<(), SysError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| "become non-dumpable".into())
}

/// Has the kernel kill this process when the thread that spawned it ends. A
/// change of credentials undoes it.
pub(crate) fn die_with_parent() -> Result<(), SysError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "set the parent death signal".into())
}

/// Sets the kernel's out-of-memory badness of this process.
///
/// A value below the current one needs CAP_SYS_RESOURCE; without it the
/// current value stays, as containerd's `restrict_oom_score_adj` has it.
///
/// # Errors
///
/// Any other refusal of the kernel.
pub fn adjust_oom_score(adjustment: i32) -> Result<(), SysError> {
    match fs::write("/proc/self/oom_score_adj", adjustment.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.doing(|| format!("set oom_score_adj to {adjustment}")),
    }
}
