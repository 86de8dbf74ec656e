//! By containerd's client for the command line.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::peer::Peer;

/// Runs one container of a peer, by this name, to its end and returns what it took.
///
/// # Errors
///
/// When it fails; it is removed then.
pub fn run(peer: &Peer, name: &str) -> Result<Duration> {
    let mut command = Command::new("ctr");
    command.args(["run", "--rm", "--runtime", &peer.runtime]);
    if let Some(binary) = &peer.runc_binary {
        command.args(["--runc-binary", binary]);
    }
    command
        .args(peer.flags())
        .args([peer.image.as_str(), name])
        .args(&peer.arguments)
        .stdin(Stdio::null());
    let begin = Instant::now();
    let output = command.output().context("run ctr")?;
    let time = begin.elapsed();
    if !output.status.success() {
        command::remove_container(name);
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`ctr run` of {} failed, {}: {}",
            peer.runtime,
            output.status,
            text.trim()
        );
    }
    Ok(time)
}
