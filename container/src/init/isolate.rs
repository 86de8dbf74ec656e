//! Taking everything of the host from a process that works beside what may be hostile.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;
use trireme_core::plan::User;

use super::{InitError, credentials, mounting};
use crate::Doing;

/// The user and group that own nothing, `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// Leaves a compiler, before it sees a program, a root with nothing but a `/tmp`, no privilege and
/// nobody's credentials. It is in mount, network, IPC and pid namespaces of its own already.
///
/// # Errors
///
/// When the kernel refuses a step; the process must then end.
pub fn isolate_compiler() -> Result<(), InitError> {
    become_nobody(|root| {
        // LLVM links by path. What is written there is memory of this process's cgroup.
        rustix::fs::mkdirat(root, "tmp", Mode::empty())?;
        rustix::fs::chmodat(root, "tmp", Mode::from_raw_mode(0o1777), AtFlags::empty())
    })
}

/// Leaves the first process of a pod's pid namespace, before a container is there, an empty root,
/// no privilege and nobody's credentials: a container that may trace (`CAP_SYS_PTRACE`) has by way of
/// `/proc/1` what that process has.
///
/// # Errors
///
/// When the kernel refuses a step; the process must then end.
pub fn isolate_pause() -> Result<(), InitError> {
    // SAFETY: this process has one thread, as is looked at below, and opens no path of before.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .doing(|| "make a mount namespace".into())?;
    become_nobody(|_| Ok(()))
}

fn become_nobody(
    furnish: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
) -> Result<(), InitError> {
    super::is_alone()?;
    let what = || "leave the host's root".to_owned();
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .doing(what)?;
    // Every host has /proc; any folder would do to attach the new root to.
    let root = mounting::new_filesystem("tmpfs", "tmpfs", "mode=555").doing(what)?;
    furnish(root.as_fd()).doing(what)?;
    let place = rustix::fs::openat(CWD, "/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .doing(what)?;
    mounting::attach(root.as_fd(), place.as_fd()).doing(what)?;
    rustix::process::fchdir(&root).doing(what)?;
    rustix::process::pivot_root(c".", c".").doing(what)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).doing(what)?;
    rustix::process::chdir(c"/").doing(what)?;
    credentials::become_nothing(&User {
        uid: NOBODY,
        gid: NOBODY,
        ..User::default()
    })
}
