//! Processor time of all that a host does: its containerd, shims, helpers and containers.
//!
//! The host has a cgroup of its own, whose account is in nanoseconds (v1) or microseconds (v2) and
//! holds all that was ever below it. The time of this program and of the clients that it starts is
//! taken off: it is the same for every peer. What the kernel does in threads of its own, as to take
//! namespaces apart, is in nobody's account.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// How often the account is looked at until the host rests.
const LOOK: Duration = Duration::from_millis(4);
/// The part of one processor below which a host rests.
const REST: f64 = 0.04;
/// How many looks in a row must find it so.
const LOOKS: u32 = 2;
/// How long the host may take to come to rest; longer, something else runs in it all the time.
const LIMIT: Duration = Duration::from_secs(2);

/// The note that a figure with processor time has.
pub const NOTE: &str = "CPU ms: user and system time of containerd, shims, helpers and containers until the host is \
                        at rest again, by the account of the host's cgroup; without the client, and without what the \
                        kernel does in threads of its own.";

/// The account of the host's cgroup.
pub struct Meter {
    file: PathBuf,
    unified: bool,
}

impl Meter {
    /// Finds the account, in the host.
    ///
    /// # Errors
    ///
    /// When no hierarchy with such an account is mounted.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
        let (folder, unified) = account(&mounts).context("no cgroup has an account of CPU time")?;
        let file = folder.join(if unified { "cpu.stat" } else { "cpuacct.usage" });
        Ok(Self { file, unified })
    }

    /// The time that the host's processes have used without the clients, since the host came up.
    ///
    /// # Errors
    ///
    /// When the account cannot be read.
    pub fn used(&self) -> Result<Duration> {
        let own = own()?;
        Ok(self.total()?.saturating_sub(own))
    }

    fn total(&self) -> Result<Duration> {
        let text = fs::read_to_string(&self.file);
        let text = text.with_context(|| format!("read {}", self.file.display()))?;
        let number = match self.unified {
            true => text.split_whitespace().nth(1),
            false => Some(text.trim()),
        };
        let number = number.and_then(|number| number.parse().ok());
        let number = number.with_context(|| format!("{}: `{text}`", self.file.display()))?;
        Ok(match self.unified {
            true => Duration::from_micros(number),
            false => Duration::from_nanos(number),
        })
    }

    /// Waits until the host rests: a shim that still ends would else be counted for the next peer,
    /// and slow it down.
    ///
    /// # Errors
    ///
    /// When the account cannot be read.
    pub fn rest(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let (mut before, mut looks) = (self.total()?, 0);
        while looks < LOOKS && Instant::now() < deadline {
            let begin = Instant::now();
            std::thread::sleep(LOOK);
            let now = self.total()?;
            let used = now.saturating_sub(before).as_secs_f64() / begin.elapsed().as_secs_f64();
            looks = if used < REST { looks + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    /// Does something, and returns the milliseconds of processor time that it and its aftermath
    /// took.
    ///
    /// # Errors
    ///
    /// Its own, or when the account cannot be read.
    pub fn measure<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        let before = self.used()?;
        let value = act()?;
        self.rest()?;
        let used = self.used()?.saturating_sub(before);
        Ok((value, used.as_secs_f64() * 1e3))
    }
}

/// What this program and the clients that it has started used.
fn own() -> Result<Duration> {
    Ok(used_by(UsageWho::RUSAGE_SELF)? + used_by(UsageWho::RUSAGE_CHILDREN)?)
}

/// User and system time of this program, or of all processes that it has started and seen to
/// their end.
///
/// # Errors
///
/// When the kernel does not tell.
pub fn used_by(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who).context("ask for the time of this program")?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)
}

/// Where the account is among these mounts, and whether it is of version 2.
fn account(mounts: &str) -> Option<(PathBuf, bool)> {
    let of = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let fits = words.get(2) == Some(&kind) && words.get(3)?.split(',').any(|o| o == option);
            fits.then(|| PathBuf::from(words[1]))
        })
    };
    of("cgroup", "cpuacct")
        .map(|folder| (folder, false))
        .or_else(|| of("cgroup2", "rw").map(|folder| (folder, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_of_version_1_is_taken_where_there_are_both() {
        let v2 = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nosuid 0 0\n";
        let both = format!("{v2}cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n");
        assert_eq!(
            account(&both).unwrap(),
            ("/sys/fs/cgroup/cpu".into(), false)
        );
        assert_eq!(
            account(v2).unwrap(),
            ("/sys/fs/cgroup/unified".into(), true)
        );
        assert!(account("proc /proc proc rw 0 0\n").is_none());
    }
}
