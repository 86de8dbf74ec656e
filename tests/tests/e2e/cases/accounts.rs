//! What containers use of the machine: as it is told, and as the kernel counts it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::pods::crictl;
use super::wait_until;
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
                cat "$(find cpuacct/ -type d -name "$0")/cpuacct.usage"
                folder=$(find memory/ -type d -name "$0")
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

/// That CRI tells within a tenth what the cgroup of a container does that has come to rest with
/// 32 MiB of its own.
pub fn is_counted(test: &Test<'_>, container: &str, cgroup: &str) -> Result<()> {
    wait_until(|| {
        let told = crictl(test, &["stats", "--output", "json", container])?;
        let told: Value = serde_json::from_str(&told)?;
        let told = &told["stats"][0];
        let number = |value: &Value| -> Result<u64> {
            let number = value["value"].as_str().with_context(|| told.to_string())?;
            Ok(number.parse()?)
        };
        let told = Use {
            processor: number(&told["cpu"]["usageCoreNanoSeconds"])?,
            memory: number(&told["memory"]["workingSetBytes"])?,
        };
        let is = Use::of_cgroup(test, cgroup)?;
        told.is_about(&is)?;
        ensure!(is.memory > 32 << 20, "{is:?}");
        Ok(())
    })
}
