//! `delete`: containerd runs it after every task, and for every task that it
//! finds without a server.
//!
//! The usual case is the one in which there is nothing left to do: the server
//! removed the state when it answered the task's Delete, and the answer here
//! is thrown away. Anything else is for `trireme-shim cleanup`.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use containerd_shim_protos::protobuf::{Message, MessageField};

use trireme_core::bundle;

use crate::args::Args;
use crate::folder::{self, Alive};
use crate::install;
use crate::wire::{api, timestamp};

/// The status of a task that nobody saw ending: 128 + SIGKILL.
pub const LOST: u32 = 137;

/// Cleans up after a task and prints a `DeleteResponse`.
///
/// # Errors
///
/// When the rest cannot be removed.
pub fn run(args: &Args) -> Result<()> {
    let bundle = args.bundle().context("cannot tell the bundle")?;
    let left = match bundle::state(&bundle) {
        Some(state) => is_left(&state).context("cannot look at the task's state")?,
        None => false,
    };
    if !left {
        return print(0, LOST, SystemTime::now());
    }
    let program = install::beside(install::SERVER)?;
    let error = Command::new(&program).arg("cleanup").arg(&bundle).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Whether there is anything to clean up: the task's state, or the folder of a
/// server that died before it had any.
fn is_left(state: &Path) -> io::Result<bool> {
    if state.join("state.json").exists() {
        return Ok(true);
    }
    let Some(server) = state.parent().and_then(Path::parent) else {
        return Ok(false);
    };
    match folder::lock(server)? {
        None => Ok(false),
        Some(_lock) => Ok(matches!(folder::alive(server)?, Alive::Free(_))),
    }
}

/// Prints what is known of a task's end.
///
/// # Errors
///
/// When standard output cannot be written.
pub fn print(pid: u32, status: u32, at: SystemTime) -> Result<()> {
    let response = api::DeleteResponse {
        pid,
        exit_status: status,
        exited_at: MessageField::some(timestamp(at)),
        ..api::DeleteResponse::default()
    };
    io::stdout().write_all(&response.write_to_bytes()?)?;
    Ok(())
}
