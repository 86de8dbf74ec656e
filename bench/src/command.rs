//! Commands that a benchmark has others do.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs a command to its end, and returns what it printed.
///
/// # Errors
///
/// When it cannot be run or fails; the message has what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {:?}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        text.trim()
    );
    String::from_utf8(output.stdout).with_context(|| format!("read what {command:?} printed"))
}

/// Removes what there may be of a container, its task first.
pub fn remove_container(name: &str) {
    for words in [
        &["task", "delete", "--force", name],
        &["container", "delete", name][..],
    ] {
        let _ = Command::new("ctr").args(words).output();
    }
}
