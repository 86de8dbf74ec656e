//! The inside of a host: its namespaces and its pid 1.
//!
//! Two steps, each a process, since a pid namespace begins with a child: [`supervise`] makes the
//! namespaces and ends; [`init`] is pid 1, lays out the mounts, says ready, and reaps.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::{Instance, cgroup, mounts};
use crate::process::Known;

/// What [`init`] prints when the host is ready for its daemons.
const READY: &str = "ready";
/// The file in a host's state that names its pid 1.
pub const PID_FILE: &str = "init.pid";
/// The file in a host's state that gets the messages of its pid 1.
pub const LOG_FILE: &str = "init.log";
/// Starts the namespaces of a host through a process of their own, and waits until its pid 1 has
/// laid out the mounts.
pub fn start(instance: &Instance) -> Result<()> {
    let state = instance.state()?;
    let log = state.join(LOG_FILE);
    let mut child = Command::new("/proc/self/exe")
        .args(["internal-supervise", instance.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).with_context(|| format!("create {}", log.display()))?)
        .spawn()
        .context("start the host's first process")?;
    let mut said = String::new();
    // Read to the end: init closes its side when it is ready, or when it fails.
    child
        .stdout
        .take()
        .context("no pipe to the host")?
        .read_to_string(&mut said)?;
    let status = child.wait()?;
    if !status.success() || said.trim() != READY {
        let text = fs::read_to_string(&log).unwrap_or_default();
        bail!(
            "host {instance} did not come up ({status}): {}",
            text.trim()
        );
    }
    Ok(())
}

/// Makes the namespaces of a host and starts its pid 1 in them.
pub fn supervise(instance: &Instance) -> Result<()> {
    nix::unistd::setsid().context("leave the session of the caller")?;
    cgroup::create(&instance.cgroup()?)?;
    cgroup::join(&instance.cgroup()?)?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(namespaces).context("make the host's namespaces (this needs root)")?;
    let mut child = Command::new("/proc/self/exe")
        .args(["internal-init", instance.name()])
        .stdin(Stdio::piped())
        .spawn()
        .context("start the host's pid 1")?;
    // The child mounts a /proc of its own over the one in use here, and waits for the end of its
    // input before it does.
    Known::of(child.id() as i32)?.save(&instance.state()?.join(PID_FILE))?;
    drop(child.stdin.take());
    Ok(())
}

/// Is pid 1 of a host: lays out the mounts, says ready, reaps for ever.
pub fn init(instance: &Instance) -> Result<()> {
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .context("wait for the supervisor")?;
    let _root = mounts::lay_out(instance)?;
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("run ip")?;
    if !status.success() {
        bail!("bring up the loopback device: {status}");
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{READY}")?;
    stdout.flush()?;
    let null = fs::File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(&null)?;
    reap_for_ever()
}

fn reap_for_ever() -> Result<()> {
    let mut child_ended = SigSet::empty();
    child_ended.add(Signal::SIGCHLD);
    child_ended.thread_block()?;
    loop {
        while !matches!(
            waitpid(None, Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::StillAlive) | Err(_)
        ) {}
        child_ended.wait()?;
    }
}
