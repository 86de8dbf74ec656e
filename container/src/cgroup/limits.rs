//! Conversions between the specification's values, made for v1, and v2's.

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
