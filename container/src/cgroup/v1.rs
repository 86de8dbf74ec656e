//! cgroup v1: one hierarchy a controller.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use trireme_core::spec::oci::{LinuxBlockIo, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use super::stats::{self, Blkio, Cpu, Memory, Pids, Stats, keyed, number};
use super::{Cgroup, CgroupError, Folder, Write, Writes, devices as rules, limits, unsupported};
use crate::{Doing, SysError};

pub(super) fn create(cgroup: &Cgroup) -> Result<(), SysError> {
    for folder in &cgroup.folders {
        make(&folder.path).doing(|| format!("make cgroup {}", folder.path.display()))?;
        if folder.controllers.iter().any(|name| name == "cpuset") {
            inherit_cpuset(folder)?;
        }
    }
    Ok(())
}

/// The file by which a process joins a folder: one thread of it where a hierarchy has threads.
pub(super) fn join_file(folder: &Folder) -> PathBuf {
    let is_of_v2 = folder.controllers.is_empty();
    folder
        .path
        .join(if is_of_v2 { "cgroup.procs" } else { "tasks" })
}

/// Another container may be making the same parent at the same time.
fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// A new cpuset has neither processors nor memory nodes, and nobody can join
/// it before it does: take the parent's, from the top down.
fn inherit_cpuset(folder: &Folder) -> Result<(), SysError> {
    let mut paths: Vec<PathBuf> = folder
        .path
        .ancestors()
        .take(folder.depth)
        .map(Path::to_path_buf)
        .collect();
    paths.reverse();
    for path in paths {
        let Some(parent) = path.parent() else {
            continue;
        };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let what = || format!("set {} of {}", file, path.display());
            let own = fs::read_to_string(path.join(file)).doing(what)?;
            if own.trim().is_empty() {
                let inherited = fs::read_to_string(parent.join(file)).doing(what)?;
                fs::write(path.join(file), inherited.trim()).doing(what)?;
            }
        }
    }
    Ok(())
}

/// Everything that Linux programs need to be told of devices. A specification
/// that has nothing denied in it means what it allows, and no more.
pub(super) fn devices(rules: &[LinuxDeviceCgroup]) -> Vec<Write> {
    let mut writes = Writes::default();
    let is_all = |rule: &LinuxDeviceCgroup| !rule.allow() && device_rule(rule) == "a *:* rwm";
    if !rules.iter().any(is_all) {
        writes.set("devices", "devices.deny", "a".into(), "devices");
        rules
            .iter()
            .for_each(|rule| device_write(rule, &mut writes));
    }
    for rule in rules::ALWAYS {
        writes.set("devices", "devices.allow", rule.to_string(), "devices");
    }
    writes.0
}

fn device_write(rule: &LinuxDeviceCgroup, writes: &mut Writes) {
    let file = if rule.allow() {
        "devices.allow"
    } else {
        "devices.deny"
    };
    writes.set("devices", file, device_rule(rule), "devices");
}

pub(super) fn writes(resources: &LinuxResources) -> Result<Vec<Write>, CgroupError> {
    let mut writes = Writes::default();
    for rule in resources.devices().iter().flatten() {
        device_write(rule, &mut writes);
    }
    if let Some(memory) = resources.memory() {
        // A limit above the one on memory and swap together is refused, so the
        // one that grows goes first; -1 lifts either.
        if let Some(limit) = memory.limit().filter(|limit| *limit != 0) {
            writes.set(
                "memory",
                "memory.limit_in_bytes",
                limit.to_string(),
                "memory.limit",
            );
        }
        if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
            writes.set(
                "memory",
                "memory.memsw.limit_in_bytes",
                swap.to_string(),
                "memory.swap",
            );
        }
        if let Some(reservation) = memory.reservation().filter(|value| *value != 0) {
            writes.set(
                "memory",
                "memory.soft_limit_in_bytes",
                reservation.to_string(),
                "memory.reservation",
            );
        }
        if let Some(swappiness) = memory.swappiness() {
            writes.set(
                "memory",
                "memory.swappiness",
                swappiness.to_string(),
                "memory.swappiness",
            );
        }
        if memory.disable_oom_killer() == Some(true) {
            writes.set(
                "memory",
                "memory.oom_control",
                "1".into(),
                "memory.disableOOMKiller",
            );
        }
    }
    if let Some(cpu) = resources.cpu() {
        let values = [
            (
                "cpu.shares",
                cpu.shares().filter(|v| *v != 0).map(|v| v.to_string()),
                "cpu.shares",
            ),
            (
                "cpu.cfs_period_us",
                cpu.period().filter(|v| *v != 0).map(|v| v.to_string()),
                "cpu.period",
            ),
            (
                "cpu.cfs_quota_us",
                cpu.quota().filter(|v| *v != 0).map(|v| v.to_string()),
                "cpu.quota",
            ),
            (
                "cpu.cfs_burst_us",
                cpu.burst().map(|v| v.to_string()),
                "cpu.burst",
            ),
            (
                "cpu.rt_period_us",
                cpu.realtime_period()
                    .filter(|v| *v != 0)
                    .map(|v| v.to_string()),
                "cpu.realtimePeriod",
            ),
            (
                "cpu.rt_runtime_us",
                cpu.realtime_runtime()
                    .filter(|v| *v != 0)
                    .map(|v| v.to_string()),
                "cpu.realtimeRuntime",
            ),
            ("cpu.idle", cpu.idle().map(|v| v.to_string()), "cpu.idle"),
        ];
        for (file, value, what) in values {
            if let Some(value) = value {
                writes.set("cpu", file, value, what);
            }
        }
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id().filter(|class| *class != 0) {
            writes.set(
                "net_cls",
                "net_cls.classid",
                class.to_string(),
                "network.classID",
            );
        }
        for priority in network.priorities().iter().flatten() {
            let value = format!("{} {}", priority.name(), priority.priority());
            writes.set(
                "net_prio",
                "net_prio.ifpriomap",
                value,
                "network.priorities",
            );
        }
    }
    if let Some(block) = resources.block_io() {
        block_writes(block, &mut writes);
    }
    if resources
        .unified()
        .as_ref()
        .is_some_and(|unified| !unified.is_empty())
    {
        return Err(unsupported("unified", "this host has cgroup v1"));
    }
    limits::of_both_versions(resources, "limit_in_bytes", &mut writes)?;
    Ok(writes.0)
}

pub(super) fn ignored(resources: &LinuxResources) -> Vec<&'static str> {
    let memory = resources.memory().as_ref();
    let block = resources.block_io().as_ref();
    // Deprecated in the specification, and refused by the kernels of today.
    #[allow(deprecated)]
    let kernel = memory.is_some_and(|m| m.kernel().is_some_and(|limit| limit != 0));
    [
        (kernel, "memory.kernel"),
        (
            memory.is_some_and(|m| m.kernel_tcp().is_some_and(|limit| limit != 0)),
            "memory.kernelTCP",
        ),
        (
            memory.is_some_and(|m| m.use_hierarchy() == Some(true)),
            "memory.useHierarchy",
        ),
        (
            memory.is_some_and(|m| m.check_before_update() == Some(true)),
            "memory.checkBeforeUpdate",
        ),
        (
            block.is_some_and(|b| b.leaf_weight().is_some_and(|w| w != 0)),
            "blockIO.leafWeight",
        ),
    ]
    .into_iter()
    .filter_map(|(there, what)| there.then_some(what))
    .collect()
}

fn block_writes(block: &LinuxBlockIo, writes: &mut Writes) {
    if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
        writes.set(
            "blkio",
            "blkio.weight",
            weight.to_string(),
            "blockIO.weight",
        );
    }
    let throttles = [
        (
            "blkio.throttle.read_bps_device",
            block.throttle_read_bps_device(),
        ),
        (
            "blkio.throttle.write_bps_device",
            block.throttle_write_bps_device(),
        ),
        (
            "blkio.throttle.read_iops_device",
            block.throttle_read_iops_device(),
        ),
        (
            "blkio.throttle.write_iops_device",
            block.throttle_write_iops_device(),
        ),
    ];
    for (file, devices) in throttles {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            writes.set("blkio", file, value, "blockIO.throttle");
        }
    }
    for device in block.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            writes.set(
                "blkio",
                "blkio.weight_device",
                value,
                "blockIO.weightDevice",
            );
        }
    }
}

fn device_rule(rule: &LinuxDeviceCgroup) -> String {
    let typ = match rule.typ() {
        Some(LinuxDeviceType::B) => 'b',
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => 'c',
        _ => 'a',
    };
    let number = |number: Option<i64>| match number {
        Some(number) if number >= 0 => number.to_string(),
        _ => "*".to_owned(),
    };
    let access = rule
        .access()
        .as_deref()
        .filter(|access| !access.is_empty())
        .unwrap_or("rwm");
    format!(
        "{typ} {}:{} {access}",
        number(rule.major()),
        number(rule.minor())
    )
}

/// Whether a container's accounts are in this folder, [`stats`] or those of memory.
pub(super) fn has_accounts(folder: &Folder) -> bool {
    const ACCOUNTS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "blkio"];
    let mut names = folder.controllers.iter();
    names.any(|name| ACCOUNTS.contains(&name.as_str()))
}

pub(super) fn stats(cgroup: &Cgroup) -> Result<Stats, SysError> {
    Ok(Stats {
        v2: false,
        cpu: cpu(cgroup),
        memory: cgroup.controller("memory").map(memory).unwrap_or_default(),
        pids: cgroup
            .controller("pids")
            .map(Pids::read)
            .unwrap_or_default(),
        blkio: cgroup.controller("blkio").map(blkio).unwrap_or_default(),
    })
}

fn cpu(cgroup: &Cgroup) -> Cpu {
    /// `cpuacct.stat` counts in ticks of USER_HZ, which is 100 everywhere.
    const NANOS_A_TICK: u64 = 10_000_000;
    let mut cpu = Cpu::default();
    if let Some(folder) = cgroup.controller("cpuacct") {
        cpu.total = number(&folder.join("cpuacct.usage")).unwrap_or(0);
        let stat = fs::read_to_string(folder.join("cpuacct.stat")).unwrap_or_default();
        cpu.user = keyed(&stat, "user").unwrap_or(0) * NANOS_A_TICK;
        cpu.system = keyed(&stat, "system").unwrap_or(0) * NANOS_A_TICK;
        let per_cpu = fs::read_to_string(folder.join("cpuacct.usage_percpu")).unwrap_or_default();
        cpu.per_cpu = per_cpu
            .split_ascii_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
    }
    if let Some(folder) = cgroup.controller("cpu") {
        let stat = fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
        cpu.periods = keyed(&stat, "nr_periods").unwrap_or(0);
        cpu.throttled_periods = keyed(&stat, "nr_throttled").unwrap_or(0);
        cpu.throttled_time = keyed(&stat, "throttled_time").unwrap_or(0);
    }
    cpu
}

fn memory(folder: &Path) -> Memory {
    let value = |file: &str| number(&folder.join(file)).unwrap_or(0);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let oom = fs::read_to_string(folder.join("memory.oom_control")).unwrap_or_default();
    Memory {
        usage: value("memory.usage_in_bytes"),
        max_usage: value("memory.max_usage_in_bytes"),
        limit: value("memory.limit_in_bytes"),
        failcnt: value("memory.failcnt"),
        swap_usage: value("memory.memsw.usage_in_bytes"),
        swap_limit: value("memory.memsw.limit_in_bytes"),
        oom_kills: keyed(&oom, "oom_kill").unwrap_or(0),
        stat: stats::pairs(&stat)
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

fn blkio(folder: &Path) -> Vec<Blkio> {
    let mut devices = Vec::<Blkio>::new();
    for (file, bytes) in [
        ("blkio.throttle.io_service_bytes", true),
        ("blkio.throttle.io_serviced", false),
    ] {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(device), Some(op), Some(count)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let numbers = device
                .split_once(':')
                .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
            let (Some((major, minor)), Ok(count)) = (numbers, count.parse()) else {
                continue;
            };
            let at = devices
                .iter()
                .position(|known| known.major == major && known.minor == minor)
                .unwrap_or_else(|| {
                    devices.push(Blkio {
                        major,
                        minor,
                        ..Blkio::default()
                    });
                    devices.len() - 1
                });
            let device = &mut devices[at];
            match (op, bytes) {
                ("Read", true) => device.read_bytes = count,
                ("Write", true) => device.write_bytes = count,
                ("Read", false) => device.read_ops = count,
                ("Write", false) => device.write_ops = count,
                _ => {}
            }
        }
    }
    devices
}
