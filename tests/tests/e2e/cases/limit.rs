//! Limits, as the kernel has them.

use anyhow::{Result, ensure};

use crate::test::Test;

/// A limit of a cgroup: its file, and what that holds.
pub struct Limit {
    v1: (&'static str, String),
    v2: (&'static str, String),
}

impl Limit {
    /// Of memory, in bytes.
    pub fn memory(bytes: u64) -> Self {
        let text = bytes.to_string();
        Self {
            v1: ("memory.limit_in_bytes", text.clone()),
            v2: ("memory.max", text),
        }
    }

    /// Of processor time, in microseconds of each tenth of a second.
    pub fn processor(quota: u32) -> Self {
        Self {
            v1: ("cpu.cfs_quota_us", quota.to_string()),
            v2: ("cpu.max", format!("{quota} 100000")),
        }
    }

    /// Of processes.
    pub fn pids(count: u32) -> Self {
        let limit = ("pids.max", count.to_string());
        Self {
            v1: limit.clone(),
            v2: limit,
        }
    }

    /// That the cgroup of a process has it.
    pub fn expect_set(&self, test: &Test<'_>, pid: &str) -> Result<()> {
        let is_v2 = test.is_on_cgroup2();
        let (file, value) = if is_v2 { &self.v2 } else { &self.v1 };
        let controller = match file.split_once('.') {
            Some((controller, _)) if !is_v2 => controller,
            _ => "",
        };
        let seen = file_of(test, pid, controller, file)?;
        ensure!(seen.trim() == value, "{file} is {seen}, not {value}");
        Ok(())
    }
}

/// What a file says of the cgroup that a process is in, of a controller of v1 or, without one, of v2.
pub fn file_of(test: &Test<'_>, pid: &str, controller: &str, file: &str) -> Result<String> {
    let mount = if controller.is_empty() {
        "."
    } else {
        controller
    };
    // A hierarchy may have several controllers.
    let script = format!(
        "folder=$(sed -nE 's/^[0-9]+:([^:]*,)?{controller}(,[^:]*)?:(.*)/\\3/p' /proc/{pid}/cgroup)\n\
         cat /sys/fs/cgroup/{mount}$folder/{file}"
    );
    Ok(test.exec(&["sh", "-ec", &script])?.expect(0)?.stdout)
}
