//! What a container uses, in one form for both versions.

use std::fs;
use std::path::Path;

/// The accounts of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Whether they come from the unified hierarchy.
    pub v2: bool,
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Vec<Blkio>,
}

/// Processor time, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// On each processor; empty on v2.
    pub per_cpu: Vec<u64>,
    /// Enforcement periods that have passed.
    pub periods: u64,
    /// Those in which it was throttled.
    pub throttled_periods: u64,
    /// For how long.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In use.
    pub usage: u64,
    /// The most that was in use.
    pub max_usage: u64,
    /// The limit; `u64::MAX` for none.
    pub limit: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// Swap in use; on v1 together with memory.
    pub swap_usage: u64,
    /// Limit of the same.
    pub swap_limit: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// `memory.stat` as the kernel writes it.
    pub stat: Vec<(String, u64)>,
}

impl Memory {
    /// A line of `memory.stat`; 0 where the kernel has none of that name.
    pub fn get(&self, name: &str) -> u64 {
        self.stat
            .iter()
            .find(|(key, _)| key == name)
            .map_or(0, |(_, value)| *value)
    }
}

/// Processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 for no limit.
    pub limit: u64,
}

impl Pids {
    /// The accounts in a folder; the files are the same in both versions.
    pub(super) fn read(folder: &Path) -> Self {
        Pids {
            current: number(&folder.join("pids.current")).unwrap_or(0),
            limit: number(&folder.join("pids.max"))
                .filter(|max| *max != u64::MAX)
                .unwrap_or(0),
        }
    }
}

/// What was transferred to and from a block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blkio {
    /// Major device number.
    pub major: u64,
    /// Minor device number.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub read_ops: u64,
    /// Writes.
    pub write_ops: u64,
}

/// The number in a file that holds one, `max` being `u64::MAX`.
pub(super) fn number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// The value of a line `key value`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    pairs(text)
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// The lines `key value` of a file.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}
