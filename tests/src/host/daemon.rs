//! Daemons of a host: started, waited for, ended, and found again by the next call. Those of an
//! emulated machine are units of its systemd.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::{Instance, emulated::unit};
use crate::process::Known;

/// How long a daemon may take until it serves.
pub const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A program that serves in a host.
#[derive(Debug)]
pub struct Daemon {
    /// Its name: what its files in the host's state begin with.
    pub name: &'static str,
    /// The command.
    pub command: &'static [&'static str],
    /// How to see that it is ready.
    pub ready: Ready,
    /// Writes its configuration, before it is started.
    pub configure: fn(&Instance) -> Result<()>,
}

/// What is so once a daemon is ready.
#[derive(Debug)]
pub enum Ready {
    /// It listens on these sockets, below the host's root.
    Sockets(&'static [&'static str]),
    /// It listens on this port of TCP over IPv4.
    Port(u16),
    /// A command in the host succeeds.
    Command(&'static [&'static str]),
}

/// What a daemon of a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It runs, with this pid.
    Running(i32),
    /// It was stopped on purpose.
    Stopped,
    /// It was never started, or it ended by itself.
    Ended,
}

impl Daemon {
    /// The unit that it is where systemd starts it.
    fn unit(&self) -> String {
        let name = match self.name {
            "dockerd" => "docker",
            name => name,
        };
        format!("{name}.service")
    }

    /// Looks it up in a host.
    pub fn status(&self, instance: &Instance) -> Result<Status> {
        if instance.is_emulated() {
            return unit::status(instance, &self.unit());
        }
        if self.stopped_file(instance)?.exists() {
            return Ok(Status::Stopped);
        }
        Ok(match Known::load(&self.pid_file(instance)?)? {
            Some(known) if known.is_alive() => Status::Running(known.pid),
            _ => Status::Ended,
        })
    }

    /// Configures it, starts it and waits until it is ready.
    pub fn start(&self, instance: &Instance) -> Result<()> {
        (self.configure)(instance)?;
        if instance.is_emulated() {
            return unit::start(instance, &self.unit());
        }
        remove_if_there(&self.stopped_file(instance)?)?;
        let root = root_of(instance)?;
        if let Ready::Sockets(sockets) = self.ready {
            for socket in sockets {
                // Left behind by one that was killed; its successor would be taken for ready.
                remove_if_there(&root.join(socket))?;
            }
        }
        let log_before = fs::metadata(self.log(instance)?).map_or(0, |meta| meta.len());
        let known = self.spawn(instance)?;
        known.save(&self.pid_file(instance)?)?;
        self.wait_until_ready(instance, &root, known)
            .with_context(|| format!("its log ends so:\n{}", self.tail(instance, log_before, 15)))
    }

    /// Ends it with a signal and keeps it down until [`Daemon::start`].
    pub fn stop(&self, instance: &Instance, signal: Signal) -> Result<()> {
        if instance.is_emulated() {
            return unit::stop(instance, &self.unit(), signal);
        }
        if let Some(known) = Known::load(&self.pid_file(instance)?)? {
            fs::write(self.stopped_file(instance)?, "")?;
            known.signal(signal)?;
            known
                .wait_for_end(STOP_LIMIT)
                .with_context(|| format!("stop {}", self.name))?;
        }
        Ok(())
    }

    /// The last lines of its log, none of them before byte `from`.
    pub fn tail(&self, instance: &Instance, from: u64, lines: usize) -> String {
        if instance.is_emulated() {
            return unit::tail(instance, &self.unit(), lines);
        }
        let Ok(text) = self.log(instance).and_then(|path| Ok(fs::read(path)?)) else {
            return String::new();
        };
        let text = String::from_utf8_lossy(text.get(from as usize..).unwrap_or(&text)).into_owned();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn spawn(&self, instance: &Instance) -> Result<Known> {
        let output = Command::new("/proc/self/exe")
            .args(["internal-daemon", instance.name(), self.name])
            .args(self.command)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("start {}", self.name))?;
        let pid = String::from_utf8_lossy(&output.stdout).trim().parse();
        match pid {
            Ok(pid) if output.status.success() => Known::of(pid),
            _ => bail!("{} could not be started ({})", self.name, output.status),
        }
    }

    fn wait_until_ready(&self, instance: &Instance, root: &Path, known: Known) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        match self.ready {
            Ready::Sockets(sockets) => sockets.iter().try_for_each(|socket| {
                let listens = || Ok(UnixStream::connect(root.join(socket)).is_ok());
                self.wait_until(known, deadline, &format!("listen on /{socket}"), listens)
            }),
            Ready::Port(port) => {
                let listens = || listens_on(instance, port);
                self.wait_until(known, deadline, &format!("listen on port {port}"), listens)
            }
            Ready::Command(words) => {
                let succeeds = || Ok(in_host(instance, words)?.status.success());
                let what = format!("make `{}` succeed", words.join(" "));
                self.wait_until(known, deadline, &what, succeeds)
            }
        }
    }

    fn wait_until(
        &self,
        known: Known,
        deadline: Instant,
        what: &str,
        is_so: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        while !is_so()? {
            if !known.is_alive() {
                bail!("{} ended at once", self.name);
            }
            if Instant::now() > deadline {
                bail!("{} does not {what} after {START_LIMIT:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn pid_file(&self, instance: &Instance) -> Result<PathBuf> {
        self.file(instance, "pid")
    }

    /// Present while a test wants it to stay down.
    fn stopped_file(&self, instance: &Instance) -> Result<PathBuf> {
        self.file(instance, "stopped")
    }

    fn log(&self, instance: &Instance) -> Result<PathBuf> {
        self.file(instance, "log")
    }

    fn file(&self, instance: &Instance, kind: &str) -> Result<PathBuf> {
        Ok(instance.state()?.join(format!("{}.{kind}", self.name)))
    }
}

/// The root folder of a host as it is reached from the machine.
pub fn root_of(instance: &Instance) -> Result<PathBuf> {
    let init = init_of(instance)?;
    Ok(PathBuf::from(format!("/proc/{}/root", init.pid)))
}

fn init_of(instance: &Instance) -> Result<Known> {
    Known::load(&instance.state()?.join(super::namespace::PID_FILE))?.context("the host is not up")
}

/// Runs a command in a host to its end, with nothing on stdin.
pub fn in_host(instance: &Instance, words: &[&str]) -> Result<Output> {
    Command::new("/proc/self/exe")
        .args(["internal-enter", instance.name()])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {} in the host", words[0]))
}

/// Whether a program of the host listens on a port; see proc_pid_net(5) on `tcp`.
fn listens_on(instance: &Instance, port: u16) -> Result<bool> {
    const LISTENS: &str = "0A";
    let file = format!("/proc/{}/net/tcp", init_of(instance)?.pid);
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let port = format!(":{port:04X}");
    Ok(text.lines().skip(1).any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        matches!(words[..], [_, local, _, LISTENS, ..] if local.ends_with(&port))
    }))
}

/// Writes a file of a host's, with the folders that it is in.
pub fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
