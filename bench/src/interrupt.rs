//! Signals that end a run: it ends after the turn that it is at, so that nothing is left behind.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;

static CAME: AtomicBool = AtomicBool::new(false);
/// The process that does the work and is to end first; 0 where there is none.
static WORKER: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: i32) {
    CAME.store(true, Ordering::Relaxed);
    let worker = WORKER.load(Ordering::Relaxed);
    if worker > 0 {
        let errno = Errno::last_raw();
        let _ = kill(Pid::from_raw(worker), Signal::try_from(signal).ok());
        Errno::set_raw(errno);
    }
}

/// Has the signals noted from now on.
///
/// # Errors
///
/// When the kernel refuses.
pub fn watch() -> Result<()> {
    let handler = SigHandler::Handler(note);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: what the handler calls is async-signal-safe, and it keeps errno.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("watch for {signal}"))?;
    }
    Ok(())
}

/// Runs a command to its end, and passes the signals on to it.
///
/// # Errors
///
/// When it cannot be run.
pub fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().display().to_string();
    let child = command.spawn().with_context(|| format!("run {name}"))?;
    WORKER.store(child.id() as i32, Ordering::Relaxed);
    let output = child.wait_with_output();
    WORKER.store(0, Ordering::Relaxed);
    output.with_context(|| format!("wait for {name}"))
}

/// Goes on unless a signal came.
///
/// # Errors
///
/// When one came.
pub fn check() -> Result<()> {
    if CAME.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
