//! Taking everything from a compiler before it sees a hostile program.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use trireme_core::plan::User;

use super::{InitError, credentials, mounting};
use crate::Doing;

/// The user and group that own nothing, `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// Leaves this process a root with nothing but a `/tmp`, no privilege and nobody's credentials. It
/// is in mount, network, IPC and pid namespaces of its own already.
///
/// # Errors
///
/// When the kernel refuses a step; the process must then end.
pub fn isolate() -> Result<(), InitError> {
    super::is_alone()?;
    let what = || "leave the host's root".to_owned();
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .doing(what)?;
    // Every host has /proc; any folder would do to attach the new root to.
    let empty = mounting::new_filesystem("tmpfs", "tmpfs", "mode=555").doing(what)?;
    // LLVM links by path. What is written there is memory of this process's cgroup.
    rustix::fs::mkdirat(&empty, "tmp", Mode::empty()).doing(what)?;
    rustix::fs::chmodat(&empty, "tmp", Mode::from_raw_mode(0o1777), AtFlags::empty())
        .doing(what)?;
    let place = rustix::fs::openat(CWD, "/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .doing(what)?;
    mounting::attach(empty.as_fd(), place.as_fd()).doing(what)?;
    rustix::process::fchdir(&empty).doing(what)?;
    rustix::process::pivot_root(c".", c".").doing(what)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).doing(what)?;
    rustix::process::chdir(c"/").doing(what)?;
    credentials::become_nothing(&User {
        uid: NOBODY,
        gid: NOBODY,
        ..User::default()
    })
}
