//! What containers use of the machine: as it is told, as the kernel counts it, and how much it lets
//! them.

use anyhow::{Context, Result, bail, ensure};

use crate::test::Test;

/// Nanoseconds of processors, and bytes that cannot be given back at once.
#[derive(Debug)]
pub struct Use {
    pub processor: u64,
    pub memory: u64,
}

impl Use {
    /// What the kernel counts for a cgroup of this name, by the files of version 1 or 2, whichever the
    /// machine has.
    pub fn of_cgroup(test: &Test<'_>, name: &str) -> Result<Self> {
        let script = r#"cd /sys/fs/cgroup
            if [ -e cgroup.controllers ]; then
                folder=$(find . -type d -name "$0")
                sed -n 's/^usage_usec \(.*\)/\1000/p' "$folder/cpu.stat"
                cat "$folder/memory.current"
                sed -n 's/^inactive_file //p' "$folder/memory.stat"
            else
                cat "$(find cpuacct -type d -name "$0")/cpuacct.usage"
                folder=$(find memory -type d -name "$0")
                cat "$folder/memory.usage_in_bytes"
                sed -n 's/^total_inactive_file //p' "$folder/memory.stat"
            fi"#;
        let output = test.exec(&["bash", "-euc", script, name])?.expect(0)?;
        let numbers: Result<Vec<u64>, _> = output.stdout.lines().map(str::parse).collect();
        match numbers.with_context(|| format!("{output:?}"))?[..] {
            [processor, usage, inactive] => Ok(Self {
                processor,
                memory: usage - inactive,
            }),
            _ => bail!("three numbers were expected: {output:?}"),
        }
    }

    /// That this, which was told, is within a tenth of what is so.
    pub fn is_about(&self, so: &Self) -> Result<()> {
        for (told, is) in [(self.processor, so.processor), (self.memory, so.memory)] {
            ensure!(
                told.abs_diff(is) * 10 <= is,
                "told is {self:?}, so is {so:?}"
            );
        }
        Ok(())
    }
}

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
    pub fn is_set(&self, test: &Test<'_>, pid: &str) -> Result<()> {
        let is_v2 = test.is_on_cgroup2();
        let (file, value) = if is_v2 { &self.v2 } else { &self.v1 };
        let (controller, mount) = match file.split_once('.') {
            Some((controller, _)) if !is_v2 => (controller, controller),
            _ => ("", "."),
        };
        let script = format!(
            "folder=$(sed -n 's/^[0-9]*:{controller}://p' /proc/{pid}/cgroup)\n\
             cat /sys/fs/cgroup/{mount}$folder/{file}"
        );
        let output = test.exec(&["sh", "-ec", &script])?.expect(0)?;
        ensure!(
            output.stdout.trim() == value,
            "{file} is {}, not {value}",
            output.stdout
        );
        Ok(())
    }
}
