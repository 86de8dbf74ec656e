//! What a benchmark ran on: the machine, and the versions of what it ran.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The machine, as a host sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processors that may be used.
    pub cores: usize,
    /// The name of the processor, where the kernel tells it.
    pub processor: String,
    /// The memory in kB.
    pub memory_kb: u64,
    /// The release of the kernel.
    pub kernel: String,
    /// `v1`, `v2` or `hybrid` (v1 with a v2 hierarchy beside).
    pub cgroups: String,
    /// The name of the host's Linux distribution.
    pub system: String,
}

impl Machine {
    /// Reads it from `/proc`, `/sys` and `/etc`.
    ///
    /// # Errors
    ///
    /// When one of the files of `/proc` cannot be read.
    pub fn read() -> Result<Self> {
        let read = |file: &str| fs::read_to_string(file).with_context(|| format!("read {file}"));
        let cores = std::thread::available_parallelism().context("count the processors")?;
        Ok(Self {
            cores: cores.get(),
            processor: field(&read("/proc/cpuinfo")?, "model name", ':').unwrap_or_default(),
            memory_kb: memory(&read("/proc/meminfo")?, "MemTotal").context("no MemTotal")?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cgroups: cgroups(&read("/proc/self/mounts")?).to_owned(),
            system: read("/etc/os-release")
                .ok()
                .and_then(|text| field(&text, "PRETTY_NAME", '='))
                .unwrap_or_default(),
        })
    }
}

/// A line's value behind its name and a sign, without quotes.
fn field(text: &str, name: &str, sign: char) -> Option<String> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let (_, value) = rest.split_once(sign)?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// A value of `/proc/meminfo`, in kB.
pub fn memory(meminfo: &str, name: &str) -> Option<u64> {
    let value = field(meminfo, name, ':')?;
    value.split_whitespace().next()?.parse().ok()
}

fn cgroups(mounts: &str) -> &'static str {
    let of = |kind: &str| {
        mounts
            .lines()
            .any(|line| line.split(' ').nth(2) == Some(kind))
    };
    match (of("cgroup"), of("cgroup2")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        (false, _) => "v2",
    }
}

/// The load averages over 1, 5 and 15 minutes.
///
/// # Errors
///
/// When `/proc/loadavg` cannot be read or is not what proc(5) says.
pub fn load() -> Result<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let values: Result<Vec<f64>, _> = text.split(' ').take(3).map(str::parse).collect();
    let values = values.ok().and_then(|values| values.try_into().ok());
    values.with_context(|| format!("/proc/loadavg: `{}`", text.trim()))
}

/// The versions of the programs that there are, by their names.
pub type Versions = BTreeMap<String, String>;

/// Asks the programs of the host for their versions; those that it does not have are left out.
pub fn versions() -> Versions {
    let mut versions = Versions::new();
    for program in ["containerd", "runc", "crun"] {
        if let Some(text) = output(program, &["--version"]) {
            versions.insert(program.to_owned(), version(&text).to_owned());
        }
    }
    let library = ["--show", "--showformat", "${Version}", "libwasmedge0"];
    if let Some(text) = output("dpkg-query", &library).filter(|text| !text.is_empty()) {
        versions.insert("libwasmedge".to_owned(), text);
    }
    if let Some(text) = output("trireme", &["engines"]) {
        for line in text.lines().skip(1) {
            let mut words = line.split_whitespace();
            if let (Some(engine), Some(version)) = (words.next(), words.next())
                && version != "is"
            {
                versions.insert(engine.to_owned(), version.to_owned());
            }
        }
    }
    versions
}

/// The first word of a program's answer that begins like a version.
fn version(text: &str) -> &str {
    let is_version = |word: &&str| {
        let word = word.trim_start_matches('v');
        word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
    };
    text.split_whitespace().find(is_version).unwrap_or("?")
}

/// What a program prints; `None` where it is not there or fails.
pub fn output(program: &str, words: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(words).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_the_files_of_proc() {
        let meminfo = "MemTotal:       16314 kB\nMemFree:  9 kB\n";
        assert_eq!(memory(meminfo, "MemFree"), Some(9));
        assert_eq!(field("NAME=\"Debian\"\n", "NAME", '=').unwrap(), "Debian");
        assert_eq!(cgroups("a /x cgroup rw 0 0\nb /y cgroup2 rw 0 0"), "hybrid");
        assert_eq!(cgroups("b /y cgroup2 rw 0 0"), "v2");
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(
            version("containerd github.com/containerd/containerd 1.7.24~ds1 x"),
            "1.7.24~ds1"
        );
        assert_eq!(version("crun version 1.21\ncommit: 10"), "1.21");
        assert_eq!(version("containerd github.com/x v2.3.4 "), "v2.3.4");
    }
}
