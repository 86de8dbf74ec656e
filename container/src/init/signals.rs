//! Signals of a guest: a terminating signal n ends it at once with status
//! 128 + n.
//!
//! The kernel drops a signal to pid 1 of a namespace unless a handler is
//! there, so every signal whose default is to terminate gets one.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Signals that end a process by default and that no engine uses for itself.
const TERMINATING: &[i32] = &[
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGABRT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSYS,
];

/// The same in a copy of a process that has done so: what the making of the copy has undone.
///
/// # Errors
///
/// The kernel's.
pub fn install_in_copy() -> io::Result<()> {
    set(libc::SIGPIPE, libc::SIG_IGN)
}

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Whether [`install`] was called here, or in the zygote that this is a copy of.
pub fn are_installed() -> bool {
    INSTALLED.load(Ordering::Relaxed)
}

extern "C" fn end(signal: libc::c_int) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { libc::_exit(128 + signal) }
}

/// Has terminating signals end this process, real-time signals included.
///
/// SIGPIPE is ignored: a guest that writes to a closed pipe gets an error, as
/// WASI says.
///
/// # Errors
///
/// The kernel's.
pub fn install() -> io::Result<()> {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    for signal in TERMINATING.iter().copied().chain(real_time) {
        set(signal, end as extern "C" fn(libc::c_int) as usize)?;
    }
    // What Linux programs leave behind that were executed beside it are children of
    // pid 1, and nobody else would take note of their end.
    set(libc::SIGCHLD, libc::SIG_IGN)?;
    set(libc::SIGPIPE, libc::SIG_IGN)?;
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
}

fn set(signal: i32, handler: usize) -> io::Result<()> {
    // SAFETY: a zeroed sigaction is valid; the handler is SIG_IGN or a function
    // that only calls _exit, on the stack of whatever it interrupts or the
    // engine's alternate stack.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
