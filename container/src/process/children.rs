//! The children of this process: those that somebody holds, whom whoever reaps others has to leave
//! alone, and those that nobody does.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{WaitId, WaitIdOptions};

use super::ProcessId;

/// The pids of those that are held. For a moment, one that was reaped stands there beside another
/// that has its pid by now.
static CHILDREN: Mutex<Vec<i32>> = Mutex::new(Vec::new());

fn held() -> MutexGuard<'static, Vec<i32>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether somebody holds the child that has this pid, and sees to its end.
pub(crate) fn is_held(pid: i32) -> bool {
    held().contains(&pid)
}

/// Takes note that somebody holds a child.
pub(super) fn hold(pid: i32) {
    held().push(pid);
}

/// Takes note that somebody holds it no longer.
pub(super) fn let_go(pid: i32) {
    let mut held = held();
    if let Some(place) = held.iter().position(|other| *other == pid) {
        held.swap_remove(place);
    }
}

/// All pids.
///
/// # Errors
///
/// When the kernel does not tell them.
pub(crate) fn all() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let list = match fs::read_to_string(thread?.path().join("children")) {
            // The thread has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            list => list?,
        };
        pids.extend(
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    Ok(pids)
}

/// Those that have ended in another pid namespace than this process's, and that nobody holds.
///
/// # Errors
///
/// When the kernel does not tell the children of this process.
pub fn strangers() -> io::Result<Vec<ProcessId>> {
    let pids = all()?;
    let strangers = pids.into_iter().filter(|pid| !is_held(*pid));
    Ok(strangers
        .filter(|pid| is_dead_elsewhere(*pid))
        .filter_map(|pid| ProcessId::of(pid).ok())
        .collect())
}

fn is_dead_elsewhere(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // Its pids in this namespace and in each one below.
    let pids = value("NSpid:").map_or(0, |pids| pids.split_ascii_whitespace().count());
    pids > 1 && value("State:").is_some_and(|state| state.trim_start().starts_with('Z'))
}

/// Reaps one of [`strangers`], unless it has been reaped or somebody holds it by now.
pub fn reap_stranger(stranger: ProcessId) {
    if !is_held(stranger.pid)
        && let Ok(Some(process)) = stranger.open()
    {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = rustix::process::waitid(WaitId::PidFd(process.as_fd()), options);
    }
}
