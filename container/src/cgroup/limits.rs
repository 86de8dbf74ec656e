//! Limits that both versions have under one name, and conversions between the
//! specification's values, made for v1, and v2's.

use trireme_core::spec::oci::LinuxResources;

use super::{CgroupError, Writes, unsupported};

/// Adds what is written alike on both versions. `huge_pages` is the last part of
/// the name of the file that limits huge pages.
pub(super) fn of_both_versions(
    resources: &LinuxResources,
    huge_pages: &str,
    writes: &mut Writes,
) -> Result<(), CgroupError> {
    if let Some(cpu) = resources.cpu() {
        for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                writes.set("cpuset", file, value.clone(), "cpu.cpus");
            }
        }
    }
    if let Some(pids) = resources.pids()
        && pids.limit() != 0
    {
        writes.set("pids", "pids.max", or_max(pids.limit()), "pids.limit");
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.{huge_pages}", page.page_size());
        writes.set("hugetlb", &file, page.limit().to_string(), "hugepageLimits");
    }
    let rdma = resources.rdma().as_ref();
    if rdma.is_some_and(|limits| !limits.is_empty()) {
        return Err(unsupported("rdma", "not supported"));
    }
    Ok(())
}

/// CPU shares (2–262144) as a weight (1–10000), the same curve that runc and
/// crun use (`containerd/cgroups`, `cgroup2/utils.go`).
pub(super) fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Block I/O weight (10–1000) as `io.weight` (1–10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
}

/// A limit in which a negative value means none.
pub(super) fn or_max(value: i64) -> String {
    if value < 0 {
        "max".into()
    } else {
        value.to_string()
    }
}
