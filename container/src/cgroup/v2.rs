//! cgroup v2: the unified hierarchy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use trireme_core::spec::oci::LinuxResources;

use super::limits::{cpu_weight, io_weight, of_both_versions, or_max};
use super::stats::{self, Blkio, Cpu, Memory, Pids, Stats, keyed, number};
use super::{Cgroup, CgroupError, Folder, Write, Writes, unsupported};
use crate::{Doing, SysError};

/// Makes the folder and hands every controller there is down to it.
pub(super) fn create(cgroup: &Cgroup) -> Result<(), SysError> {
    let Some(folder) = cgroup.folders.first() else {
        return Ok(());
    };
    for path in levels(folder) {
        let parent = path.parent().unwrap_or(Path::new("/"));
        for controller in &folder.controllers {
            // A parent that holds processes keeps its controllers to itself;
            // the limit that needs one says so when it is written.
            let _ = fs::write(
                parent.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.doing(|| format!("make cgroup {}", path.display()))?,
        }
    }
    Ok(())
}

/// The folder and its parents below the mount point, from the top down.
fn levels(folder: &Folder) -> Vec<PathBuf> {
    let mut levels: Vec<_> = folder
        .path
        .ancestors()
        .take(folder.depth)
        .map(Path::to_path_buf)
        .collect();
    levels.reverse();
    levels
}

pub(super) fn writes(resources: &LinuxResources) -> Result<Vec<Write>, CgroupError> {
    let mut writes = Writes::default();
    if let Some(memory) = resources.memory() {
        let limit = memory.limit().filter(|limit| *limit != 0);
        if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
            writes.set(
                "memory",
                "memory.swap.max",
                swap_alone(swap, limit)?,
                "memory.swap",
            );
        }
        if let Some(limit) = limit {
            writes.set("memory", "memory.max", or_max(limit), "memory.limit");
        }
        if let Some(reservation) = memory.reservation().filter(|value| *value != 0) {
            writes.set(
                "memory",
                "memory.low",
                or_max(reservation),
                "memory.reservation",
            );
        }
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            writes.set(
                "cpu",
                "cpu.weight",
                cpu_weight(shares).to_string(),
                "cpu.shares",
            );
        }
        if cpu.quota().is_some_and(|quota| quota != 0) || cpu.period().is_some_and(|p| p != 0) {
            let quota = match cpu.quota() {
                Some(quota) if quota > 0 => quota.to_string(),
                _ => "max".to_owned(),
            };
            let period = cpu
                .period()
                .filter(|period| *period != 0)
                .unwrap_or(100_000);
            writes.set("cpu", "cpu.max", format!("{quota} {period}"), "cpu.quota");
        }
        if let Some(burst) = cpu.burst() {
            writes.set("cpu", "cpu.max.burst", burst.to_string(), "cpu.burst");
        }
        if let Some(idle) = cpu.idle() {
            writes.set("cpu", "cpu.idle", idle.to_string(), "cpu.idle");
        }
    }
    if let Some(block) = resources.block_io() {
        if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
            writes.set(
                "io",
                "io.weight",
                format!("default {}", io_weight(weight)),
                "blockIO.weight",
            );
        }
        let throttles = [
            ("rbps", block.throttle_read_bps_device()),
            ("wbps", block.throttle_write_bps_device()),
            ("riops", block.throttle_read_iops_device()),
            ("wiops", block.throttle_write_iops_device()),
        ];
        for (key, devices) in throttles {
            for device in devices.iter().flatten() {
                let value = format!(
                    "{}:{} {key}={}",
                    device.major(),
                    device.minor(),
                    device.rate()
                );
                writes.set("io", "io.max", value, "blockIO.throttle");
            }
        }
    }
    if resources.network().is_some() {
        return Err(unsupported("network", "cgroup v2 has no network classes"));
    }
    for (file, value) in resources.unified().iter().flatten() {
        if file.contains('/') {
            return Err(unsupported(
                "unified",
                "a key names a file of the cgroup, not a path",
            ));
        }
        writes.set("", file, value.clone(), "unified");
    }
    of_both_versions(resources, "max", &mut writes)?;
    Ok(writes.0)
}

pub(super) fn ignored(resources: &LinuxResources) -> Vec<&'static str> {
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    let block = resources.block_io().as_ref();
    let real_time = cpu.is_some_and(|c| {
        c.realtime_period().is_some_and(|v| v != 0) || c.realtime_runtime().is_some_and(|v| v != 0)
    });
    let weights = block.is_some_and(|b| b.weight_device().as_ref().is_some_and(|w| !w.is_empty()));
    [
        (
            memory.is_some_and(|m| m.swappiness().is_some()),
            "memory.swappiness",
        ),
        (
            memory.is_some_and(|m| m.disable_oom_killer() == Some(true)),
            "memory.disableOOMKiller",
        ),
        (
            memory.is_some_and(|m| m.check_before_update() == Some(true)),
            "memory.checkBeforeUpdate",
        ),
        (real_time, "cpu.realtimeRuntime"),
        (
            block.is_some_and(|b| b.leaf_weight().is_some_and(|w| w != 0)),
            "blockIO.leafWeight",
        ),
        (weights, "blockIO.weightDevice"),
    ]
    .into_iter()
    .filter_map(|(there, what)| there.then_some(what))
    .collect()
}

/// The specification limits memory and swap together, v2 swap alone.
pub(super) fn swap_alone(swap: i64, limit: Option<i64>) -> Result<String, CgroupError> {
    match (swap, limit) {
        (swap, _) if swap < 0 => Ok("max".into()),
        (swap, Some(limit)) if limit >= 0 && swap >= limit => Ok((swap - limit).to_string()),
        _ => Err(unsupported(
            "memory.swap",
            "needs a memory limit that is not above it",
        )),
    }
}

pub(super) fn stats(cgroup: &Cgroup) -> Result<Stats, SysError> {
    let Some(Folder { path, .. }) = cgroup.folders.first() else {
        return Ok(Stats::default());
    };
    Ok(Stats {
        v2: true,
        cpu: cpu(path),
        memory: memory(path),
        pids: Pids::read(path),
        blkio: blkio(path),
    })
}

fn cpu(folder: &Path) -> Cpu {
    const NANOS_A_MICRO: u64 = 1000;
    let stat = fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
    let get = |key| keyed(&stat, key).unwrap_or(0);
    Cpu {
        total: get("usage_usec") * NANOS_A_MICRO,
        user: get("user_usec") * NANOS_A_MICRO,
        system: get("system_usec") * NANOS_A_MICRO,
        per_cpu: Vec::new(),
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_time: get("throttled_usec") * NANOS_A_MICRO,
    }
}

fn memory(folder: &Path) -> Memory {
    let value = |file: &str| number(&folder.join(file)).unwrap_or(0);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let events = fs::read_to_string(folder.join("memory.events")).unwrap_or_default();
    Memory {
        usage: value("memory.current"),
        max_usage: value("memory.peak"),
        limit: value("memory.max"),
        failcnt: keyed(&events, "max").unwrap_or(0),
        swap_usage: value("memory.swap.current"),
        swap_limit: value("memory.swap.max"),
        oom_kills: keyed(&events, "oom_kill").unwrap_or(0),
        stat: stats::pairs(&stat)
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

/// Lines such as `254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn blkio(folder: &Path) -> Vec<Blkio> {
    let text = fs::read_to_string(folder.join("io.stat")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (device, values) = line.split_once(' ')?;
            let (major, minor) = device.split_once(':')?;
            let get = |key: &str| {
                values
                    .split(' ')
                    .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
                    .unwrap_or(0)
            };
            Some(Blkio {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                read_bytes: get("rbytes"),
                write_bytes: get("wbytes"),
                read_ops: get("rios"),
                write_ops: get("wios"),
            })
        })
        .collect()
}
