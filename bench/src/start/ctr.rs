//! By containerd's client for the command line.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::peer::Peer;

/// The container's name.
const NAME: &str = "bench";

/// Runs one container to its end and returns the milliseconds that it took.
///
/// # Errors
///
/// When it fails; it is removed then.
pub fn start(peer: &Peer) -> Result<f64> {
    let mut command = Command::new("ctr");
    command.args(["run", "--rm", "--runtime", &peer.runtime]);
    if let Some(binary) = &peer.runc_binary {
        command.args(["--runc-binary", binary]);
    }
    command
        .args(peer.flags())
        .args([&peer.image, NAME])
        .args(&peer.arguments)
        .stdin(Stdio::null());
    let begin = Instant::now();
    let output = command.output().context("run ctr")?;
    let time = begin.elapsed();
    if !output.status.success() {
        command::remove_container(NAME);
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`ctr run` of {} failed, {}: {}",
            peer.runtime,
            output.status,
            text.trim()
        );
    }
    Ok(time.as_secs_f64() * 1e3)
}
