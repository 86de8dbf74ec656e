//! Limits as properties of a unit (`systemd.resource-control(5)`), the same that
//! runc sets for each version of cgroups; what systemd has no property for is written
//! to the cgroup alone.

use trireme_core::spec::oci::LinuxResources;

use super::Value;
use crate::cgroup::limits::cpu_weight;
use crate::cgroup::v2::swap_alone;
use crate::cgroup::{CgroupError, Version, unsupported};

/// A name and what it is to be.
pub type Property = (&'static str, Value);

const NONE: u64 = u64::MAX;
/// The specification's period where it names none, in microseconds.
const PERIOD: u64 = 100_000;
/// The fewest and the most shares that there are on v1; the kernel takes any others for these, and
/// systemd refuses them.
const SHARES: [u64; 2] = [2, 262_144];
/// systemd has a quota for each second, in steps of 10 ms, and 1 s here.
const STEP: u64 = 10_000;
const SECOND: u64 = 1_000_000;

/// The properties of some limits.
pub fn of_limits(
    resources: &LinuxResources,
    version: Version,
) -> Result<Vec<Property>, CgroupError> {
    let mut properties = match version {
        Version::V1 => of_v1(resources),
        Version::V2 => of_v2(resources)?,
    };
    if let Some(cpu) = resources.cpu() {
        let period = cpu.period().filter(|period| *period != 0);
        if let Some(period) = period {
            properties.push(("CPUQuotaPeriodUSec", Value::Number(period)));
        }
        if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
            let share = per_second(quota, period.unwrap_or(PERIOD));
            properties.push(("CPUQuotaPerSecUSec", Value::Number(share)));
        }
    }
    if let Some(pids) = resources.pids()
        && pids.limit() != 0
    {
        properties.push(("TasksMax", Value::Number(or_none(pids.limit()))));
    }
    Ok(properties)
}

/// A limit, which is none where it is negative.
fn or_none(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(NONE)
}

/// Those that are properties of other names on v1.
fn of_v1(resources: &LinuxResources) -> Vec<Property> {
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    let block = resources.block_io().as_ref();
    let values = [
        (
            "MemoryLimit",
            memory.and_then(|memory| memory.limit()).map(or_none),
        ),
        (
            "CPUShares",
            cpu.and_then(|cpu| cpu.shares())
                .map(|shares| shares.clamp(SHARES[0], SHARES[1])),
        ),
        (
            "BlockIOWeight",
            block.and_then(|block| block.weight()).map(u64::from),
        ),
    ];
    let set = |(name, value): (_, Option<u64>)| {
        let value = value.filter(|value| *value != 0)?;
        Some((name, Value::Number(value)))
    };
    values.into_iter().filter_map(set).collect()
}

/// Those that are there on v2 alone.
fn of_v2(resources: &LinuxResources) -> Result<Vec<Property>, CgroupError> {
    let mut properties = Vec::new();
    if let Some(memory) = resources.memory() {
        let limit = memory.limit().filter(|limit| *limit != 0);
        if let Some(limit) = limit {
            properties.push(("MemoryMax", Value::Number(or_none(limit))));
        }
        if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
            let swap = swap_alone(swap, limit)?.parse().unwrap_or(NONE);
            properties.push(("MemorySwapMax", Value::Number(swap)));
        }
        if let Some(low) = memory.reservation().filter(|low| *low != 0) {
            properties.push(("MemoryLow", Value::Number(or_none(low))));
        }
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            properties.push(("CPUWeight", Value::Number(cpu_weight(shares))));
        }
        for (name, list) in [
            ("AllowedCPUs", cpu.cpus()),
            ("AllowedMemoryNodes", cpu.mems()),
        ] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                let mask = mask(list)
                    .ok_or_else(|| unsupported("cpu.cpus", "a list has the form 0-3,8"))?;
                properties.push((name, Value::Bytes(mask)));
            }
        }
    }
    Ok(properties)
}

/// A quota of each period as microseconds of each second, never less.
fn per_second(quota: i64, period: u64) -> u64 {
    match u64::try_from(quota) {
        Ok(quota) => (quota.saturating_mul(SECOND) / period).next_multiple_of(STEP),
        Err(_) => NONE,
    }
}

/// A list of processors (`cpuset(7)`, "List format") with a bit for each, the
/// first in the lowest bit of the first byte.
fn mask(list: &str) -> Option<Vec<u8>> {
    const MOST: usize = 8192;
    let mut mask = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if first > last || last >= MOST {
            return None;
        }
        mask.resize(mask.len().max(last / 8 + 1), 0_u8);
        (first..=last).for_each(|bit| mask[bit / 8] |= 1 << (bit % 8));
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str, version: Version) -> Vec<Property> {
        of_limits(&serde_json::from_str(json).unwrap(), version).unwrap()
    }

    const LIMITS: &str = r#"{"memory": {"limit": 4096, "swap": 8192, "reservation": 1024},
        "cpu": {"shares": 1024, "quota": 25001, "period": 100000, "cpus": "0-1,9"},
        "blockIO": {"weight": 500}, "pids": {"limit": 7}}"#;

    #[test]
    fn limits_have_systemds_units() {
        assert_eq!(
            limits(LIMITS, Version::V2),
            [
                ("MemoryMax", Value::Number(4096)),
                ("MemorySwapMax", Value::Number(4096)),
                ("MemoryLow", Value::Number(1024)),
                ("CPUWeight", Value::Number(39)),
                ("AllowedCPUs", Value::Bytes(vec![3, 2])),
                ("CPUQuotaPeriodUSec", Value::Number(100_000)),
                ("CPUQuotaPerSecUSec", Value::Number(260_000)),
                ("TasksMax", Value::Number(7)),
            ]
        );
    }

    #[test]
    fn limits_of_v1_have_their_own_names() {
        assert_eq!(
            limits(LIMITS, Version::V1),
            [
                ("MemoryLimit", Value::Number(4096)),
                ("CPUShares", Value::Number(1024)),
                ("BlockIOWeight", Value::Number(500)),
                ("CPUQuotaPeriodUSec", Value::Number(100_000)),
                ("CPUQuotaPerSecUSec", Value::Number(260_000)),
                ("TasksMax", Value::Number(7)),
            ]
        );
    }

    #[test]
    fn a_limit_that_is_lifted_is_the_highest_number() {
        let json = r#"{"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}"#;
        let none = Value::Number(u64::MAX);
        for (version, memory) in [(Version::V1, "MemoryLimit"), (Version::V2, "MemoryMax")] {
            let names = [memory, "CPUQuotaPerSecUSec", "TasksMax"];
            assert_eq!(
                limits(json, version),
                names.map(|name| (name, none.clone()))
            );
            assert_eq!(limits("{}", version), []);
        }
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        for list in ["x", "3-1", "0-", "99999"] {
            assert_eq!(mask(list), None, "{list}");
        }
    }
}
