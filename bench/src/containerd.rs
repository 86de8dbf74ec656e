//! containerd as it is where people run containers: its log at level `info`, where a host has its own
//! at `debug` and so has every shim write a log; and with the handlers that CRI is to know beside
//! those of the host's configuration.
//!
//! The host's own is stopped from outside, and inside another is started over the same state, with
//! the same sockets.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::machine;
use crate::run::host_script;

const FILE: &str = "/etc/containerd/config.toml";
/// How long containerd may take until it answers, and to its end.
const LIMIT: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A handler: its name, its runtime, and whether its pods have no pause container.
pub type Handler<'a> = (&'a str, &'a str, bool);

/// The host's own containerd, stopped from outside; dropped, it is started again.
pub struct Stopped {
    host: String,
}

impl Stopped {
    /// Brings the host up and stops its containerd.
    ///
    /// # Errors
    ///
    /// When the host does not come up.
    pub fn in_host(host: &str) -> Result<Self> {
        // One that was killed has left it so.
        let script = host_script();
        let status = machine::output(&script.to_string_lossy(), &[host, "--status"]);
        if status.is_some_and(|text| text.contains("containerd was stopped")) {
            tests_host(&[host, "--start-containerd"])?;
        }
        tests_host(&[host, "--", "true"])?;
        let stopped = Self {
            host: host.to_owned(),
        };
        tests_host(&[host, "--stop-containerd", "TERM"])?;
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = tests_host(&[&self.host, "--start-containerd"]) {
            eprintln!("bench: {error:#}");
        }
    }
}

fn tests_host(words: &[&str]) -> Result<()> {
    let status = Command::new(host_script()).args(words).status();
    let status = status.context("run tests/host")?;
    ensure!(status.success(), "tests/host {} failed", words.join(" "));
    Ok(())
}

/// Another containerd in its place, inside; it ends when this is dropped.
pub struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Daemon {
    /// Starts it and waits until it answers; CRI, where it is to have handlers.
    ///
    /// # Errors
    ///
    /// When it does not come up; the message has the end of its log.
    pub fn start(handlers: &[Handler<'_>]) -> Result<Self> {
        let own = fs::read_to_string(FILE).with_context(|| format!("read {FILE}"))?;
        let folder = tempfile::tempdir().context("make a folder for containerd")?;
        let config = folder.path().join("config.toml");
        fs::write(&config, with(&own, handlers)).context("write containerd's configuration")?;
        let log = File::create(folder.path().join("log")).context("make containerd's log")?;
        let mut command = Command::new("containerd");
        command
            .args(["--log-level", "info", "--config"])
            .arg(&config)
            // An interrupt of the terminal is for this program, which needs it to clean up.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        let child = command.spawn().context("run containerd")?;
        let mut daemon = Self { child, folder };
        let question = match handlers {
            [] => ["ctr", "version"],
            _ => ["crictl", "info"],
        };
        daemon.wait_until_it_answers(question)?;
        Ok(daemon)
    }

    fn wait_until_it_answers(&mut self, [program, word]: [&str; 2]) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while machine::output(program, &[word]).is_none() {
            let ended = self.child.try_wait().context("wait for containerd")?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let lines: Vec<_> = log.lines().rev().take(5).collect();
                bail!(
                    "containerd does not answer, {ended:?}:\n{}",
                    lines.join("\n")
                );
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The configuration with the tables that it does not have.
fn with(config: &str, handlers: &[Handler<'_>]) -> String {
    let is_v3 = config.lines().any(|line| line.trim() == "version = 3");
    let plugin = match is_v3 {
        true => "io.containerd.cri.v1.runtime",
        false => "io.containerd.grpc.v1.cri",
    };
    let mut text = config.to_owned();
    for (name, runtime, sandbox) in handlers {
        let head = format!("[plugins.\"{plugin}\".containerd.runtimes.{name}]");
        // Before 2.x no shim could make pods.
        if text.contains(&head) || *sandbox && !is_v3 {
            continue;
        }
        text.push_str(&format!("\n{head}\nruntime_type = \"{runtime}\"\n"));
        if *sandbox {
            text.push_str("sandboxer = \"shim\"\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_added_in_the_form_of_each_version() {
        let handlers = [
            ("null", "io.containerd.null.v1", false),
            ("s", "io.containerd.s.v1", true),
        ];
        let text = with("version = 2\n", &handlers);
        assert!(text.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.null]"));
        assert!(!text.contains("sandboxer"), "{text}");
        let text = with("version = 3\n", &handlers);
        assert!(text.contains("[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.s]"));
        assert!(text.ends_with("sandboxer = \"shim\"\n"), "{text}");
        assert_eq!(with(&text, &handlers), text);
    }
}
