//! Resource limits of `setrlimit(2)`.

use serde::{Deserialize, Serialize};

use crate::spec::oci;

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// The number of the resource, as in `sys/resource.h`.
    pub resource: u32,
    /// The limit in force, in the resource's own unit.
    pub soft: u64,
    /// What the soft limit may be raised to.
    pub hard: u64,
}

impl Rlimit {
    /// The limits of a specification.
    pub fn from_spec(limits: &[oci::PosixRlimit]) -> Vec<Self> {
        limits
            .iter()
            .map(|limit| Rlimit {
                resource: resource(limit.typ()),
                soft: limit.soft(),
                hard: limit.hard(),
            })
            .collect()
    }
}

#[allow(clippy::unnecessary_cast)]
fn resource(typ: oci::PosixRlimitType) -> u32 {
    use oci::PosixRlimitType as T;
    let number = match typ {
        T::RlimitCpu => libc::RLIMIT_CPU,
        T::RlimitFsize => libc::RLIMIT_FSIZE,
        T::RlimitData => libc::RLIMIT_DATA,
        T::RlimitStack => libc::RLIMIT_STACK,
        T::RlimitCore => libc::RLIMIT_CORE,
        T::RlimitRss => libc::RLIMIT_RSS,
        T::RlimitNproc => libc::RLIMIT_NPROC,
        T::RlimitNofile => libc::RLIMIT_NOFILE,
        T::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        T::RlimitAs => libc::RLIMIT_AS,
        T::RlimitLocks => libc::RLIMIT_LOCKS,
        T::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        T::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        T::RlimitNice => libc::RLIMIT_NICE,
        T::RlimitRtprio => libc::RLIMIT_RTPRIO,
        T::RlimitRttime => libc::RLIMIT_RTTIME,
    };
    // A signed number with musl.
    number as u32
}
