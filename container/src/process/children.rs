//! The children of this process that somebody holds: whoever reaps others has to leave them alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Their pids. One that was reaped may stand there for another that has its pid by now.
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
