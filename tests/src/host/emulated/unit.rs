//! Daemons of an emulated machine: units of its systemd.

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::client;
use crate::host::Instance;
use crate::host::daemon::Status;

/// Starts a unit and waits until it says that it is ready.
pub fn start(instance: &Instance, unit: &str) -> Result<()> {
    client::succeed(instance, &["systemctl", "start", unit], b"")
        .with_context(|| format!("its log ends so:\n{}", tail(instance, unit, 15)))
}

/// Ends a unit's main process with a signal and keeps it down.
pub fn stop(instance: &Instance, unit: &str, signal: Signal) -> Result<()> {
    let script = r#"systemctl kill --kill-whom=main --signal="$2" "$1"; systemctl stop "$1""#;
    let signal = signal.as_raw().to_string();
    client::succeed(instance, &["sh", "-c", script, "sh", unit, &signal], b"")
}

/// What a unit does. One that was never started counts as stopped.
pub fn status(instance: &Instance, unit: &str) -> Result<Status> {
    let words = [
        "systemctl",
        "show",
        "--value",
        "--property=ActiveState,MainPID",
        unit,
    ];
    let said = client::output(instance, &words, b"")?;
    let pid = said.split_whitespace().find_map(|word| word.parse().ok());
    let is = |state: &str| said.split_whitespace().any(|word| word == state);
    Ok(match pid {
        Some(pid) if is("active") => Status::Running(pid),
        _ if is("inactive") => Status::Stopped,
        _ => Status::Ended,
    })
}

/// The last lines of its log.
pub fn tail(instance: &Instance, unit: &str, lines: usize) -> String {
    // journalctl has a number of lines that fits an `int`.
    let lines = format!("--lines={}", lines.min(i32::MAX as usize));
    let words = [
        "journalctl",
        "--no-pager",
        "--output=cat",
        &lines,
        "--unit",
        unit,
    ];
    client::output(instance, &words, b"").unwrap_or_default()
}
