//! Processes that outlive the program that started them, found again through a file.
//!
//! A pid alone may have been given to another process since; with the start time of
//! `/proc/PID/stat` (proc_pid_stat(5), field 22, clock ticks since boot) it names one process.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::process::{Pid, PidfdFlags, Signal};

/// One process of this machine: its pid, as seen from here, and its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The pid in the pid namespace of this program.
    pub pid: i32,
    start: u64,
}

impl Known {
    /// Names the process that now has this pid.
    pub fn of(pid: i32) -> Result<Self> {
        let start = stat(pid)
            .with_context(|| format!("no process has pid {pid}"))?
            .start;
        Ok(Self { pid, start })
    }

    /// Reads what [`Known::save`] wrote; `None` where there is no such file.
    pub fn load(file: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        };
        let mut words = text.split_whitespace();
        match (words.next().map(str::parse), words.next().map(str::parse)) {
            (Some(Ok(pid)), Some(Ok(start))) => Ok(Some(Self { pid, start })),
            _ => bail!("{}: `{}` is not `PID START`", file.display(), text.trim()),
        }
    }

    /// Writes the process to a file, so that another program can find it.
    pub fn save(&self, file: &Path) -> Result<()> {
        fs::write(file, format!("{} {}\n", self.pid, self.start))
            .with_context(|| format!("write {}", file.display()))
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|now| now.start == self.start && now.state != 'Z')
    }

    /// Sends a signal; does nothing when the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pidfd) = self.open() else {
            return Ok(());
        };
        match rustix::process::pidfd_send_signal(&pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal process {}", self.pid)),
        }
    }

    /// Waits until it has ended.
    pub fn wait_for_end(&self, limit: Duration) -> Result<()> {
        let Some(pidfd) = self.open() else {
            return Ok(());
        };
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut fds, timeout)? {
            0 => bail!("process {} still runs after {limit:?}", self.pid),
            _ => Ok(()),
        }
    }

    /// A pidfd of exactly this process; `None` when it has ended.
    fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(pidfd)
    }
}

struct Stat {
    state: char,
    start: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in field 2 may hold spaces and brackets, so fields count from its last bracket.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.state, stat.start), ('S', 777));
    }

    #[test]
    fn a_process_that_ended_is_not_taken_for_a_later_one() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let known = Known::of(child.id() as i32).unwrap();
        assert!(known.is_alive());
        let later = Known {
            start: known.start + 1,
            ..known
        };
        assert!(!later.is_alive());
        later.signal(Signal::KILL).unwrap();
        assert!(known.is_alive());
        known.signal(Signal::KILL).unwrap();
        known.wait_for_end(Duration::from_secs(10)).unwrap();
        child.wait().unwrap();
        assert!(!known.is_alive());
    }
}
