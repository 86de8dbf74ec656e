//! `trireme-executor probe`: which engines there are.
//!
//! A plugin is looked at by a process of its own, so that one that crashes or
//! hangs is reported like any other that cannot be used.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use trireme_core::build_id;
use trireme_core::request::{EngineReport, EngineState, ProbeRequest, SettingReport};
use trireme_engine::{Adapter, Settings};

use crate::{engines, plugin};

/// The verb of the process that looks at a plugin.
pub const CHILD: &str = "probe-plugin";

/// How long a plugin has to say what it is.
const LIMIT: Duration = Duration::from_secs(10);

/// What such a process is asked.
#[derive(Serialize, Deserialize)]
pub struct PluginRequest {
    engine: String,
    plugin: PathBuf,
    /// The descriptor that the answer goes to: standard output may be written
    /// to by the plugin.
    answer: RawFd,
}

/// Prints a report of every engine as JSON.
pub fn main(request: ProbeRequest) -> Result<u8> {
    let mut reports: Vec<_> = engines::linked_in()
        .into_iter()
        .filter(|adapter| !request.plugins.contains_key(adapter.info().name))
        .map(linked_in)
        .collect();
    for (engine, plugin) in request.plugins {
        let state = ask(&engine, &plugin).unwrap_or_else(|error| EngineState::Missing {
            reason: format!("{error:#}"),
        });
        reports.push(EngineReport {
            name: engine,
            origin: plugin.display().to_string(),
            state,
        });
    }
    println!("{}", serde_json::to_string(&reports)?);
    Ok(0)
}

/// Says what one plugin is.
pub fn child(request: PluginRequest) -> Result<u8> {
    // SAFETY: the parent hands this descriptor over for the answer alone.
    let mut answer = File::from(unsafe { OwnedFd::from_raw_fd(request.answer) });
    let opened = plugin::open(&request.engine, &request.plugin, None);
    let state = match opened {
        Ok(adapter) => state(adapter, Some(&request.plugin)),
        Err(error) => EngineState::Missing {
            reason: error.to_string(),
        },
    };
    answer.write_all(&serde_json::to_vec(&state)?)?;
    // Nothing of the plugin that is due at the end may spoil the answer.
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

fn linked_in(adapter: &'static dyn Adapter) -> EngineReport {
    EngineReport {
        name: adapter.info().name.to_owned(),
        origin: "linked in".to_owned(),
        state: state(adapter, None),
    }
}

/// Asks a process of its own what a plugin is.
fn ask(engine: &str, plugin: &Path) -> Result<EngineState> {
    let mut answer = inherited("answer")?;
    let mut said = inherited("said")?;
    let mut question = inherited("question")?;
    let request = PluginRequest {
        engine: engine.to_owned(),
        plugin: plugin.to_owned(),
        answer: answer.as_raw_fd(),
    };
    question.write_all(&serde_json::to_vec(&request)?)?;
    question.rewind()?;
    let mut child = Command::new("/proc/self/exe")
        .args([CHILD, "--request-fd", &question.as_raw_fd().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .spawn()
        .context("cannot start a process to look at the plugin")?;
    let ended = wait(&mut child)?;
    let mut text = Vec::new();
    answer.rewind()?;
    answer.read_to_end(&mut text)?;
    if let (Some(_), Ok(state)) = (ended, serde_json::from_slice(&text)) {
        return Ok(state);
    }
    said.rewind()?;
    let mut words = String::new();
    // What it said need not be text, and explains nothing then.
    let _ = said.read_to_string(&mut words);
    Ok(EngineState::Missing {
        reason: failure(ended, words.trim()),
    })
}

/// Why there is no answer.
fn failure(ended: Option<ExitStatus>, words: &str) -> String {
    let how = match ended {
        None => format!("it did not say what it is within {} s", LIMIT.as_secs()),
        Some(status) => match status.signal() {
            Some(signal) => format!("it crashes when it is opened (signal {signal})"),
            None => format!("it ends the process that opens it ({status})"),
        },
    };
    let line: String = words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match line.is_empty() {
        true => format!("{how}; install a correct build of it"),
        false => format!("{how}; it says: {line}"),
    }
}

/// A memory file that a child inherits.
fn inherited(name: &str) -> Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::empty())?.into())
}

/// How the child ended, or `None` when it had to be ended.
fn wait(child: &mut Child) -> Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let limit = Timespec::try_from(LIMIT)?;
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)))?;
    if ready == 0 {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok((ready > 0).then_some(status))
}

/// An engine that does not start with its own defaults is not there.
fn state(adapter: &'static dyn Adapter, plugin: Option<&Path>) -> EngineState {
    let info = adapter.info();
    let created = Settings::check(info.settings, &Default::default())
        .map_err(|error| error.to_string())
        .and_then(|settings| {
            adapter
                .create(&settings, &Default::default())
                .map_err(|error| error.to_string())
        });
    let build = build_id::of_engine(plugin, Path::new("/proc/self/exe"));
    match (created, build.map_err(|error| error.to_string())) {
        (Ok(_), Ok(build)) => EngineState::Ready {
            version: info.version.to_owned(),
            kinds: info.kinds.to_vec(),
            wasi: info.wasi.iter().map(ToString::to_string).collect(),
            limits: info.limits.iter().map(ToString::to_string).collect(),
            settings: info
                .settings
                .iter()
                .map(|setting| SettingReport {
                    key: setting.key.to_owned(),
                    kind: setting.kind.to_string(),
                    default: setting.default.to_owned(),
                    doc: setting.doc.to_owned(),
                })
                .collect(),
            build,
        },
        (Err(reason), _) | (_, Err(reason)) => EngineState::Missing { reason },
    }
}
