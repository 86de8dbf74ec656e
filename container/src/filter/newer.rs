//! Calls that are newer than a profile.
//!
//! A program does without a call that the kernel has not (ENOSYS), but not without one that it is
//! denied. A profile that denies what it does not list would deny it every call that came later:
//! those are answered as by a kernel of the profile's age, as with runc
//! (`libcontainer/seccomp/patchbpf`).

use libseccomp::{ScmpAction, ScmpArch, ScmpSyscall};
use trireme_core::spec::oci;

use super::number;

/// The architectures whose programs this machine runs, as `AUDIT_ARCH_*` of `linux/audit.h`.
const RUN: [(ScmpArch, u32); 2] = [(ScmpArch::X8664, 0xc000_003e), (ScmpArch::X86, 0x4000_0003)];
/// `__X32_SYSCALL_BIT` of `asm/unistd.h`. The numbers of that ABI do not tell old calls from new:
/// its own are above all that it has of x86-64.
const X32: u32 = 0x4000_0000;
/// Where `struct seccomp_data` has the number of the call, and the architecture.
const CALL: u32 = 0;
const ARCH: u32 = 4;

/// The instructions that answer them, in front of those of a filter with this default.
pub(super) fn answers(
    profile: &oci::LinuxSeccomp,
    default: ScmpAction,
    architectures: &[ScmpArch],
) -> Vec<u64> {
    let is_denied = match default {
        // Who traces a call answers it.
        ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_) => false,
        ScmpAction::Errno(errno) => errno != libc::ENOSYS,
        _ => true,
    };
    let run = RUN.iter().filter(|(arch, _)| architectures.contains(arch));
    run.filter(|_| is_denied)
        .filter_map(|(arch, audit)| Some(after(*audit, last(profile, *arch)?)))
        .flatten()
        .collect()
}

/// The greatest number of a call that a profile names.
fn last(profile: &oci::LinuxSeccomp, arch: ScmpArch) -> Option<u32> {
    let rules = profile.syscalls().iter().flatten();
    let names = rules.flat_map(|rule| rule.names());
    let known = names.filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok());
    // Those that an architecture does not have are below zero to libseccomp.
    known
        .filter_map(|call| u32::try_from(call.as_raw_syscall()).ok())
        .max()
}

/// Says that there are no calls after the last one, and leaves all others to what follows.
fn after(arch: u32, last: u32) -> [u64; 6] {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    let load = |place| number(BPF_LD | BPF_W | BPF_ABS, [0, 0], place);
    let jump = |test, by, value| number(BPF_JMP | test | BPF_K, by, value);
    [
        load(ARCH),
        jump(BPF_JEQ, [0, 4], arch),
        load(CALL),
        jump(BPF_JGE, [2, 0], X32),
        jump(BPF_JGT, [0, 1], last),
        number(
            BPF_RET | BPF_K,
            [0, 0],
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
    ]
}
