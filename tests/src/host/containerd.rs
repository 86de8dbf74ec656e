//! containerd in a host: started with the file of its kind, killed and started again by tests.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::Instance;
use crate::process::Known;

const PID_FILE: &str = "containerd.pid";
/// The log of containerd, at level debug, in a host's state.
pub const LOG_FILE: &str = "containerd.log";
/// Present while a test wants containerd to stay down.
const STOPPED: &str = "containerd.stopped";
const SOCKETS: [&str; 2] = [
    "run/containerd/containerd.sock",
    "run/containerd/containerd.sock.ttrpc",
];
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// What containerd of a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Running(Known),
    /// It was stopped on purpose.
    Stopped,
    /// It was never started, or it ended by itself.
    Ended,
}

/// Looks up containerd of a host.
pub fn status(instance: &Instance) -> Result<Status> {
    let state = instance.state()?;
    if state.join(STOPPED).exists() {
        return Ok(Status::Stopped);
    }
    Ok(match Known::load(&state.join(PID_FILE))? {
        Some(known) if known.is_alive() => Status::Running(known),
        _ => Status::Ended,
    })
}

/// Starts containerd and waits until it answers.
pub fn start(instance: &Instance) -> Result<()> {
    let state = instance.state()?;
    write_config(instance, &state)?;
    remove_if_there(&state.join(STOPPED))?;
    let root = root_of(&state)?;
    for socket in SOCKETS {
        // Left behind by a containerd that was killed; its successor would be taken for ready.
        remove_if_there(&root.join(socket))?;
    }
    let log_before = fs::metadata(state.join(LOG_FILE)).map_or(0, |meta| meta.len());
    let known = spawn(instance)?;
    known.save(&state.join(PID_FILE))?;
    wait_until_it_answers(&root, known)
        .with_context(|| format!("its log ends so:\n{}", tail(instance, log_before, 15)))
}

fn write_config(instance: &Instance, state: &Path) -> Result<()> {
    let folder = state.join("overlay/etc/upper/containerd");
    let inside = root_of(state)?.join("etc/containerd");
    fs::create_dir_all(&inside).with_context(|| format!("create {}", folder.display()))?;
    fs::write(inside.join("config.toml"), instance.kind.config).context("write config.toml")
}

fn spawn(instance: &Instance) -> Result<Known> {
    let output = Command::new("/proc/self/exe")
        .args([
            "internal-daemon",
            instance.name(),
            "containerd",
            "containerd",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start containerd")?;
    let pid = String::from_utf8_lossy(&output.stdout).trim().parse();
    match pid {
        Ok(pid) if output.status.success() => Known::of(pid),
        _ => bail!("containerd could not be started ({})", output.status),
    }
}

fn wait_until_it_answers(root: &Path, known: Known) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    for socket in SOCKETS {
        while UnixStream::connect(root.join(socket)).is_err() {
            if !known.is_alive() {
                bail!("containerd ended at once");
            }
            if Instant::now() > deadline {
                bail!("containerd does not listen on /{socket} after {START_LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// Ends containerd with a signal and keeps it down until [`start`].
pub fn stop(instance: &Instance, signal: Signal) -> Result<()> {
    let state = instance.state()?;
    if let Some(known) = Known::load(&state.join(PID_FILE))? {
        fs::write(state.join(STOPPED), "")?;
        known.signal(signal)?;
        known.wait_for_end(STOP_LIMIT).context("stop containerd")?;
    }
    Ok(())
}

/// The last lines of containerd's log, none of them before byte `from`.
pub fn tail(instance: &Instance, from: u64, lines: usize) -> String {
    let Ok(text) = instance
        .state()
        .and_then(|state| Ok(fs::read(state.join(LOG_FILE))?))
    else {
        return String::new();
    };
    let text = String::from_utf8_lossy(text.get(from as usize..).unwrap_or(&text)).into_owned();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The root folder of a host as it is reached from the machine.
pub fn root_of(state: &Path) -> Result<PathBuf> {
    let init =
        Known::load(&state.join(super::namespace::PID_FILE))?.context("the host is not up")?;
    Ok(PathBuf::from(format!("/proc/{}/root", init.pid)))
}

fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
