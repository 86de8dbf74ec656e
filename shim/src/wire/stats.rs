//! Accounts of a container in the messages that containerd takes: the ones of
//! cgroup v1 on a v1 host, of v2 on a v2 host, and no others.

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use trireme_container::cgroup::{Blkio, Stats};

use super::protobuf;

/// The accounts under their type.
pub fn any(stats: &Stats) -> Any {
    let (type_url, value) = if stats.v2 {
        (
            "io.containerd.cgroups.v2.Metrics",
            unified(stats).write_to_bytes(),
        )
    } else {
        (
            "io.containerd.cgroups.v1.Metrics",
            classic(stats).write_to_bytes(),
        )
    };
    Any {
        type_url: type_url.to_owned(),
        value: value.unwrap_or_default(),
        ..Any::default()
    }
}

/// cgroup v1, processor time in nanoseconds.
fn classic(stats: &Stats) -> v1::Metrics {
    let (cpu, memory) = (&stats.cpu, &stats.memory);
    let entry = |usage, max, limit, failcnt| {
        MessageField::some(v1::MemoryEntry {
            usage,
            max,
            limit,
            failcnt,
            ..Default::default()
        })
    };
    v1::Metrics {
        pids: MessageField::some(v1::PidsStat {
            current: stats.pids.current,
            limit: stats.pids.limit,
            ..Default::default()
        }),
        cpu: MessageField::some(v1::CPUStat {
            usage: MessageField::some(v1::CPUUsage {
                total: cpu.total,
                kernel: cpu.system,
                user: cpu.user,
                per_cpu: cpu.per_cpu.clone(),
                ..Default::default()
            }),
            throttling: MessageField::some(v1::Throttle {
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
                throttled_time: cpu.throttled_time,
                ..Default::default()
            }),
            ..Default::default()
        }),
        memory: MessageField::some(v1::MemoryStat {
            cache: memory.get("cache"),
            rss: memory.get("rss"),
            rss_huge: memory.get("rss_huge"),
            mapped_file: memory.get("mapped_file"),
            dirty: memory.get("dirty"),
            writeback: memory.get("writeback"),
            pg_pg_in: memory.get("pgpgin"),
            pg_pg_out: memory.get("pgpgout"),
            pg_fault: memory.get("pgfault"),
            pg_maj_fault: memory.get("pgmajfault"),
            inactive_anon: memory.get("inactive_anon"),
            active_anon: memory.get("active_anon"),
            inactive_file: memory.get("inactive_file"),
            active_file: memory.get("active_file"),
            unevictable: memory.get("unevictable"),
            hierarchical_memory_limit: memory.get("hierarchical_memory_limit"),
            hierarchical_swap_limit: memory.get("hierarchical_memsw_limit"),
            total_cache: memory.get("total_cache"),
            total_rss: memory.get("total_rss"),
            total_rss_huge: memory.get("total_rss_huge"),
            total_mapped_file: memory.get("total_mapped_file"),
            total_dirty: memory.get("total_dirty"),
            total_writeback: memory.get("total_writeback"),
            total_pg_pg_in: memory.get("total_pgpgin"),
            total_pg_pg_out: memory.get("total_pgpgout"),
            total_pg_fault: memory.get("total_pgfault"),
            total_pg_maj_fault: memory.get("total_pgmajfault"),
            total_inactive_anon: memory.get("total_inactive_anon"),
            total_active_anon: memory.get("total_active_anon"),
            total_inactive_file: memory.get("total_inactive_file"),
            total_active_file: memory.get("total_active_file"),
            total_unevictable: memory.get("total_unevictable"),
            usage: entry(memory.usage, memory.max_usage, memory.limit, memory.failcnt),
            swap: entry(memory.swap_usage, 0, memory.swap_limit, 0),
            ..Default::default()
        }),
        blkio: MessageField::some(v1::BlkIOStat {
            io_service_bytes_recursive: classic_blkio(&stats.blkio, true),
            io_serviced_recursive: classic_blkio(&stats.blkio, false),
            ..Default::default()
        }),
        memory_oom_control: MessageField::some(v1::MemoryOomControl {
            oom_kill: memory.oom_kills,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn classic_blkio(devices: &[Blkio], bytes: bool) -> Vec<v1::BlkIOEntry> {
    devices
        .iter()
        .flat_map(|device| {
            let (read, write) = if bytes {
                (device.read_bytes, device.write_bytes)
            } else {
                (device.read_ops, device.write_ops)
            };
            [("Read", read), ("Write", write)].map(|(op, value)| v1::BlkIOEntry {
                op: op.to_owned(),
                major: device.major,
                minor: device.minor,
                value,
                ..Default::default()
            })
        })
        .collect()
}

/// cgroup v2, processor time in microseconds.
fn unified(stats: &Stats) -> v2::Metrics {
    let (cpu, memory) = (&stats.cpu, &stats.memory);
    v2::Metrics {
        pids: MessageField::some(v2::PidsStat {
            current: stats.pids.current,
            limit: stats.pids.limit,
            ..Default::default()
        }),
        cpu: MessageField::some(v2::CPUStat {
            usage_usec: cpu.total / 1000,
            user_usec: cpu.user / 1000,
            system_usec: cpu.system / 1000,
            nr_periods: cpu.periods,
            nr_throttled: cpu.throttled_periods,
            throttled_usec: cpu.throttled_time / 1000,
            ..Default::default()
        }),
        memory: MessageField::some(v2::MemoryStat {
            anon: memory.get("anon"),
            file: memory.get("file"),
            kernel_stack: memory.get("kernel_stack"),
            slab: memory.get("slab"),
            sock: memory.get("sock"),
            shmem: memory.get("shmem"),
            file_mapped: memory.get("file_mapped"),
            file_dirty: memory.get("file_dirty"),
            file_writeback: memory.get("file_writeback"),
            anon_thp: memory.get("anon_thp"),
            inactive_anon: memory.get("inactive_anon"),
            active_anon: memory.get("active_anon"),
            inactive_file: memory.get("inactive_file"),
            active_file: memory.get("active_file"),
            unevictable: memory.get("unevictable"),
            slab_reclaimable: memory.get("slab_reclaimable"),
            slab_unreclaimable: memory.get("slab_unreclaimable"),
            pgfault: memory.get("pgfault"),
            pgmajfault: memory.get("pgmajfault"),
            usage: memory.usage,
            usage_limit: memory.limit,
            swap_usage: memory.swap_usage,
            swap_limit: memory.swap_limit,
            ..Default::default()
        }),
        io: MessageField::some(v2::IOStat {
            usage: stats
                .blkio
                .iter()
                .map(|device| v2::IOEntry {
                    major: device.major,
                    minor: device.minor,
                    rbytes: device.read_bytes,
                    wbytes: device.write_bytes,
                    rios: device.read_ops,
                    wios: device.write_ops,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        memory_events: MessageField::some(v2::MemoryEvents {
            max: memory.failcnt,
            oom_kill: memory.oom_kills,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use trireme_container::cgroup::Cpu;

    use super::*;

    fn stats(v2: bool) -> Stats {
        Stats {
            v2,
            cpu: Cpu {
                total: 5_000_000,
                ..Cpu::default()
            },
            ..Stats::default()
        }
    }

    #[test]
    fn processor_time_is_in_the_unit_of_its_version() {
        let any = any(&stats(false));
        assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
        let metrics = v1::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!(metrics.cpu.usage.total, 5_000_000);
        let any = super::any(&stats(true));
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
        let metrics = v2::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!(metrics.cpu.usage_usec, 5000);
    }
}
