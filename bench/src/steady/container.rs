//! The same program in a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::work::Work;
use crate::command;
use crate::peer::Peer;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a work in a container that has this folder as `/work`, and returns the processor time that
/// its cgroup has used at its end.
///
/// # Errors
///
/// When it fails; the container is removed then.
pub fn run(peer: &Peer, work: &Work, name: &str, folder: PathBuf) -> Result<Duration> {
    let session = work.session()?;
    let pid_file = tempfile::NamedTempFile::new().context("make a file for a pid")?;
    let mount = format!(
        "type=bind,src={},dst=/work,options=rbind:rw",
        folder.display()
    );
    let mut command = Command::new("ctr");
    command
        .args([
            "run",
            "--detach",
            "--null-io",
            "--net-host",
            "--mount",
            &mount,
        ])
        .args(["--runtime", &peer.runtime, "--pid-file"])
        .arg(pid_file.path())
        .args([work.image, name])
        .args(&session.arguments);
    let container = Container(name);
    command::run(&mut command)?;
    session.attend()?;
    let pid = fs::read_to_string(pid_file.path()).context("read the container's pid")?;
    let pid = Pid::from_raw(pid.trim().parse().context("the container's pid")?);
    wait_for_end(pid)?;
    let used = used(name)?;
    // Its exit code is that of the program.
    command::run(Command::new("ctr").args(["task", "delete", name]))?;
    drop(container);
    Ok(used)
}

/// A container that is removed in any case.
struct Container<'a>(&'a str);

impl Drop for Container<'_> {
    fn drop(&mut self) {
        command::remove_container(self.0);
    }
}

/// The server takes note of it at once; until Delete the rest of the container stays.
fn wait_for_end(pid: Pid) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match kill(pid, None) {
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(error).context("look for the program"),
            Ok(()) => ensure!(Instant::now() < deadline, "it still runs after {LIMIT:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a container's cgroup has used, by whichever hierarchy has such an account.
fn used(name: &str) -> Result<Duration> {
    for folder in ["cpuacct", "cpu,cpuacct"] {
        let file = Path::new("/sys/fs/cgroup")
            .join(folder)
            .join("default")
            .join(name);
        if let Ok(text) = fs::read_to_string(file.join("cpuacct.usage")) {
            let nanoseconds = text.trim().parse().context("cpuacct.usage")?;
            return Ok(Duration::from_nanos(nanoseconds));
        }
    }
    let file = Path::new("/sys/fs/cgroup/default")
        .join(name)
        .join("cpu.stat");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    match line.map(str::parse) {
        Some(Ok(microseconds)) => Ok(Duration::from_micros(microseconds)),
        _ => bail!("no account of processor time of {name} is found"),
    }
}
