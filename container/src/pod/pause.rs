//! `trireme-shim pause`: the first process of a pid namespace that a pod's
//! containers share. It reaps what loses its parent, and goes with the thread
//! that holds the pod, or on a signal to end.

use std::io;

use rustix::process::{Signal, WaitOptions};

use crate::{Doing, SysError};

/// The signals that end it.
const ENDS: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// Reaps until it is told to end.
///
/// # Errors
///
/// When the kernel lets it wait for no signal.
pub fn main() -> Result<(), SysError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "end with the server".into())?;
    let _ = rustix::process::setsid();
    let signals = block().doing(|| "block signals".into())?;
    loop {
        reap();
        let mut signal = 0;
        // SAFETY: both are valid for the call.
        if unsafe { libc::sigwait(&raw const signals, &raw mut signal) } != 0 {
            continue;
        }
        if ENDS.contains(&signal) {
            return Ok(());
        }
    }
}

/// Blocks what is waited for, without which the first process of a pid
/// namespace would not be told (pid_namespaces(7)).
fn block() -> io::Result<libc::sigset_t> {
    // SAFETY: a set of signals is plain data, which `sigemptyset` makes whole;
    // the calls get it as a valid pointer.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        for signal in ENDS.into_iter().chain([libc::SIGCHLD]) {
            libc::sigaddset(&raw mut signals, signal);
        }
        match libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut()) {
            0 => Ok(signals),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}
