//! Signals that end a run: it ends after the turn that it is at, so that nothing is left behind.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static CAME: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: i32) {
    CAME.store(true, Ordering::Relaxed);
}

/// Has the signals noted from now on.
///
/// # Errors
///
/// When the kernel refuses.
pub fn watch() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic variable.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("watch for {signal}"))?;
    }
    Ok(())
}

/// Goes on unless one came.
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
