//! What the system and its processes hold of the memory, in kB of 1024 bytes.

use std::fs;
use std::io;
use std::path::Path;
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::machine;

/// How far two readings in a row may differ that are taken for settled.
const SETTLED_KB: f64 = 128.0;
/// How long a system may take to settle; the last reading counts then.
const PATIENCE: Duration = Duration::from_secs(6);
/// Between two readings.
const PAUSE: Duration = Duration::from_millis(300);
/// What programs of shims begin with.
const SHIMS: [&str; 3] = ["containerd-shim-", "trireme-shim", "trireme-executor"];
const CONTAINERD: &str = "containerd";

/// What is held at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// What the system still has: `MemAvailable`, and free pages that it does not count.
    pub available: f64,
    /// What the kernel holds for itself.
    pub kernel: f64,
    /// containerd.
    pub containerd: Processes,
    /// Processes of shims, among them those that wait for guests.
    pub shims: Processes,
    /// Processes in containers.
    pub guests: Processes,
}

/// A sort of processes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Processes {
    /// How many there are.
    pub count: f64,
    /// How many threads they have together.
    pub threads: f64,
    /// Their proportional set sizes.
    pub pss: f64,
}

impl Reading {
    /// Drops what is cached, waits until the system is settled, and reads.
    ///
    /// # Errors
    ///
    /// When caches cannot be dropped, or a file of `/proc` is not what proc(5) says.
    pub fn settled() -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let mut system = System::without_caches()?;
        loop {
            sleep(PAUSE);
            let next = System::without_caches()?;
            let is_settled = (next.available - system.available).abs() < SETTLED_KB;
            system = next;
            if is_settled || Instant::now() > deadline {
                return system.with_processes();
            }
        }
    }

    /// The proportional set sizes of all that a runtime needs.
    pub fn pss(&self) -> f64 {
        self.shims.pss + self.guests.pss
    }

    /// The processes of a runtime.
    pub fn processes(&self) -> f64 {
        self.shims.count + self.guests.count
    }

    /// Their threads.
    pub fn threads(&self) -> f64 {
        self.shims.threads + self.guests.threads
    }
}

/// The part of a reading that is the system's.
struct System {
    available: f64,
    kernel: f64,
}

impl System {
    fn without_caches() -> Result<Self> {
        const DROP: &str = "/proc/sys/vm/drop_caches";
        // What is not written yet cannot be dropped.
        nix::unistd::sync();
        fs::write(DROP, "3").with_context(|| format!("write {DROP}"))?;
        let meminfo = read("/proc/meminfo")?;
        let of = |name| {
            let value = machine::memory(&meminfo, name);
            value
                .map(|value| value as f64)
                .with_context(|| format!("/proc/meminfo has no {name}"))
        };
        let kernel = ["Slab", "KernelStack", "PageTables", "Percpu"].map(of);
        let lists = lists(&read("/proc/zoneinfo")?) as f64 * page_kb()?;
        Ok(Self {
            available: of("MemAvailable")? + lists,
            kernel: kernel.into_iter().sum::<Result<f64>>()?,
        })
    }

    fn with_processes(self) -> Result<Reading> {
        let mut reading = Reading {
            available: self.available,
            kernel: self.kernel,
            ..Reading::default()
        };
        let own = namespace(process::id())?;
        for pid in pids()? {
            // One that ends meanwhile is not counted.
            let Ok((sort, one)) = look(pid, &own) else {
                continue;
            };
            let all = match sort {
                Some(Sort::Containerd) => &mut reading.containerd,
                Some(Sort::Shim) => &mut reading.shims,
                Some(Sort::Guest) => &mut reading.guests,
                None => continue,
            };
            all.count += one.count;
            all.threads += one.threads;
            all.pss += one.pss;
        }
        Ok(reading)
    }
}

/// How many processes of shims and guests there are.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn count_processes() -> Result<usize> {
    let own = namespace(process::id())?;
    let sorts = pids()?.into_iter().filter_map(|pid| sort(pid, &own).ok()?);
    Ok(sorts.filter(|sort| *sort != Sort::Containerd).count())
}

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Containerd,
    Shim,
    Guest,
}

/// One process, where it is of interest.
fn look(pid: u32, own: &Path) -> io::Result<(Option<Sort>, Processes)> {
    let Some(sort) = sort(pid, own)? else {
        return Ok((None, Processes::default()));
    };
    let sizes = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.count();
    let one = Processes {
        count: 1.0,
        threads: threads as f64,
        pss: machine::memory(&sizes, "Pss").unwrap_or_default() as f64,
    };
    Ok((Some(sort), one))
}

/// Containers have a pid namespace of their own.
fn sort(pid: u32, own: &Path) -> io::Result<Option<Sort>> {
    if namespace(pid)? != own {
        return Ok(Some(Sort::Guest));
    }
    let words = fs::read(format!("/proc/{pid}/cmdline"))?;
    Ok(sort_of_program(&words))
}

fn sort_of_program(words: &[u8]) -> Option<Sort> {
    let program = words.split(|byte| *byte == 0).next()?;
    let program = program.rsplit(|byte| *byte == b'/').next()?;
    if program == CONTAINERD.as_bytes() {
        return Some(Sort::Containerd);
    }
    let is_shim = SHIMS
        .iter()
        .any(|shim| program.starts_with(shim.as_bytes()));
    is_shim.then_some(Sort::Shim)
}

fn namespace(pid: u32) -> io::Result<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid"))
}

fn pids() -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(found)
}

/// The pages on the lists of free pages that each processor has: neither `MemFree` nor
/// `MemAvailable` counts them, and there may be 100 MB of them.
fn lists(zoneinfo: &str) -> u64 {
    let count = |line: &str| {
        line.trim()
            .strip_prefix("count:")?
            .trim()
            .parse::<u64>()
            .ok()
    };
    zoneinfo.lines().filter_map(count).sum()
}

fn page_kb() -> Result<f64> {
    let bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    Ok(bytes.context("the size of a page is not known")? as f64 / 1024.0)
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_of_processors_are_counted() {
        let zoneinfo = "Node 0, zone   Normal\n  pages free     7\n  pagesets\n    cpu: 0\n              \
                        count:    12\n              high:     378\n    cpu: 1\n              count:    30\n";
        assert_eq!(lists(zoneinfo), 42);
    }

    #[test]
    fn a_process_is_known_by_its_program() {
        let sorts = [
            "/usr/bin/containerd\0--log-level\0",
            "/opt/x/containerd-shim-runc-v2\0-namespace\0",
            "trireme-executor\0zygote\0",
            "trireme-host\0internal-init\0",
            "",
        ]
        .map(|words| sort_of_program(words.as_bytes()));
        let shim = Some(Sort::Shim);
        assert_eq!(sorts, [Some(Sort::Containerd), shim, shim, None, None]);
    }

    #[test]
    fn processes_of_this_machine_can_be_read() {
        let (_, own) = (1, namespace(process::id()).unwrap());
        assert!(pids().unwrap().contains(&process::id()));
        assert_eq!(look(process::id(), &own).unwrap().0, None);
    }
}
