//! `trireme-shim pause`: the first process of a pid namespace that a pod's
//! containers share. It reaps what loses its parent, and goes with the thread
//! that holds the pod, or on a signal to end.

use std::io::{self, Write};

use rustix::process::WaitOptions;

use crate::Doing;
use crate::init::{InitError, harden, isolate_pause};

/// The signals that end it.
const ENDS: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// What it says on its standard output once containers may come. Anything else is why it cannot
/// be there.
pub(super) const READY: &str = "ready";

/// Says whether it can be, and reaps until it is told to end.
///
/// # Errors
///
/// When the kernel refuses what it needs, or lets it wait for no signal.
pub fn main() -> Result<(), InitError> {
    let prepared = prepare();
    let said = match &prepared {
        Ok(_) => READY.to_owned(),
        Err(error) => error.to_string(),
    };
    let what = || "say that a pod's first process is there".to_owned();
    let mut stdout = io::stdout();
    stdout.write_all(said.as_bytes()).doing(what)?;
    stdout.flush().doing(what)?;
    // The other end waits for the end of what is said.
    rustix::stdio::dup2_stdout(rustix::stdio::stdin()).doing(what)?;
    let signals = prepared?;
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

fn prepare() -> Result<libc::sigset_t, InitError> {
    harden(libc::STDERR_FILENO)?;
    let _ = rustix::process::setsid();
    let signals = block().doing(|| "block signals".into())?;
    isolate_pause()?;
    Ok(signals)
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
