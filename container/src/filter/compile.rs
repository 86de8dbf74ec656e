//! Making a filter of a profile, with libseccomp.

use std::io::{self, Read};
use std::str::FromStr;

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use trireme_core::memory_file::{Pages, Unsealed};
use trireme_core::spec::oci;

use super::{Filter, newer};

/// The most instructions that a filter may have (`BPF_MAXINSNS` of `linux/bpf_common.h`).
const MAX_INSTRUCTIONS: usize = 4096;
/// What a profile has that names no flags, where the kernel has it.
const DEFAULT_FLAG: oci::LinuxSeccompFilterFlag =
    oci::LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow;
/// With how many rules a tree is worth while. With none, libseccomp before 2.5.4 makes one that kills
/// whatever the default is.
const WORTH_A_TREE: usize = 8;

/// How libseccomp orders what a filter compares.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Call by call.
    List = 1,
    /// As a binary tree of their numbers. The kernel runs a filter for each call that there is when
    /// it is installed, to know which are always allowed (`seccomp_cache_prepare` in
    /// `kernel/seccomp.c`): that takes a third of the time then.
    Tree = 2,
}

/// Why there is no filter for a profile.
#[derive(Debug, thiserror::Error)]
#[error("seccomp: {0}")]
pub struct FilterError(String);

impl Filter {
    /// Makes the filter of a profile.
    ///
    /// # Errors
    ///
    /// When the profile asks for what a container cannot be given, or libseccomp refuses it.
    pub fn of(profile: &oci::LinuxSeccomp) -> Result<Self, FilterError> {
        let tree = Self::ordered(profile, Order::Tree)?;
        // A tree is a little larger than a list.
        match tree.program.len() {
            ..=MAX_INSTRUCTIONS => Ok(tree),
            _ => Self::ordered(profile, Order::List),
        }
    }

    fn ordered(profile: &oci::LinuxSeccomp, order: Order) -> Result<Self, FilterError> {
        if profile.listener_path().is_some() {
            return Err(FilterError(
                "listenerPath: notification is not supported for guests and what is executed"
                    .into(),
            ));
        }
        let default = action(profile.default_action(), profile.default_errno_ret())?;
        let mut filter = ScmpFilterContext::new(default).map_err(failed)?;
        let listed = profile.architectures().iter().flatten();
        // An architecture that this machine does not run is of no use.
        let listed = listed.filter_map(|arch| ScmpArch::from_str(&arch_name(*arch)).ok());
        let mut architectures: Vec<_> = listed.collect();
        architectures.push(ScmpArch::native());
        for arch in &architectures {
            let _ = filter.add_arch(*arch);
        }
        let flags = match profile.flags() {
            Some(flags) => flags.iter().try_fold(0, |all, flag| {
                apply_flag(&mut filter, *flag).map(|one| all | one)
            })?,
            // As runc has it (`specconv.SetupSeccomp`): kernels before 5.16 else make every program
            // with a filter slow, against a weakness that the filter has nothing to do with.
            None => apply_flag(&mut filter, DEFAULT_FLAG).unwrap_or(0),
        };
        let mut rules = 0;
        for rule in profile.syscalls().iter().flatten() {
            rules += add_rule(&mut filter, default, rule)?;
        }
        if rules > WORTH_A_TREE {
            filter.set_ctl_optimize(order as u32).map_err(failed)?;
        }
        let mut program = newer::answers(profile, default, &architectures);
        program.extend(exported(&filter)?);
        Ok(Filter { flags, program })
    }
}

/// The instructions, which libseccomp writes to a file.
fn exported(filter: &ScmpFilterContext) -> Result<Vec<u64>, FilterError> {
    let failed_to = |error: io::Error| FilterError(format!("keep the filter: {error}"));
    let file = Unsealed::new("filter", Pages::Data).map_err(failed_to)?;
    filter.export_bpf(file.file()).map_err(failed)?;
    let mut file = file.seal().map_err(failed_to)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed_to)?;
    let (instructions, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(FilterError("libseccomp wrote half an instruction".into()));
    }
    Ok(instructions
        .iter()
        .copied()
        .map(u64::from_ne_bytes)
        .collect())
}

/// Adds a rule for each of its calls that this library knows, and returns how many.
fn add_rule(
    filter: &mut ScmpFilterContext,
    default: ScmpAction,
    rule: &oci::LinuxSyscall,
) -> Result<usize, FilterError> {
    let action = action(rule.action(), rule.errno_ret())?;
    if action == default {
        return Ok(0);
    }
    let mut added = 0;
    let args: Vec<_> = rule.args().iter().flatten().map(compare).collect();
    for name in rule.names() {
        // Profiles list the calls of every kernel and architecture there is.
        let Ok(syscall) = ScmpSyscall::from_name(name) else {
            continue;
        };
        // libseccomp takes one condition an argument in a rule; runc turns
        // repeated ones into rules of their own.
        let result = if has_repeated(rule) {
            args.iter().try_for_each(|arg| {
                filter
                    .add_rule_conditional(action, syscall, &[*arg])
                    .map(drop)
            })
        } else {
            filter
                .add_rule_conditional(action, syscall, &args)
                .map(drop)
        };
        result.map_err(failed)?;
        added += 1;
    }
    Ok(added)
}

fn has_repeated(rule: &oci::LinuxSyscall) -> bool {
    let mut seen = [false; 6];
    rule.args().iter().flatten().any(|arg| {
        seen.get_mut(arg.index())
            .is_some_and(|seen| std::mem::replace(seen, true))
    })
}

fn compare(arg: &oci::LinuxSeccompArg) -> ScmpArgCompare {
    use oci::LinuxSeccompOperator as O;
    let (op, value) = match arg.op() {
        O::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        O::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        O::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        O::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        O::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        O::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        O::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(arg.value()),
            arg.value_two().unwrap_or(0),
        ),
    };
    ScmpArgCompare::new(arg.index() as u32, op, value)
}

fn action(action: oci::LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction, FilterError> {
    use oci::LinuxSeccompAction as A;
    let errno = errno.unwrap_or(libc::EPERM as u32);
    Ok(match action {
        A::ScmpActKill | A::ScmpActKillThread => ScmpAction::KillThread,
        A::ScmpActKillProcess => ScmpAction::KillProcess,
        A::ScmpActTrap => ScmpAction::Trap,
        A::ScmpActErrno => ScmpAction::Errno(errno as i32),
        A::ScmpActTrace => ScmpAction::Trace(errno as u16),
        A::ScmpActAllow => ScmpAction::Allow,
        A::ScmpActLog => ScmpAction::Log,
        A::ScmpActNotify => {
            return Err(FilterError(
                "SCMP_ACT_NOTIFY is not supported for guests and what is executed".into(),
            ));
        }
    })
}

/// The kernel's number of a flag, which libseccomp knows whether the kernel knows.
fn apply_flag(
    filter: &mut ScmpFilterContext,
    flag: oci::LinuxSeccompFilterFlag,
) -> Result<libc::c_uint, FilterError> {
    use oci::LinuxSeccompFilterFlag as F;
    let (applied, number) = match flag {
        F::SeccompFilterFlagLog => (filter.set_ctl_log(true), libc::SECCOMP_FILTER_FLAG_LOG),
        F::SeccompFilterFlagTsync => (filter.set_ctl_tsync(true), libc::SECCOMP_FILTER_FLAG_TSYNC),
        F::SeccompFilterFlagSpecAllow => (
            filter.set_ctl_ssb(true),
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        ),
        other => return Err(FilterError(format!("flag {other} is not supported"))),
    };
    applied.map_err(failed)?;
    Ok(number as libc::c_uint)
}

fn arch_name(arch: oci::Arch) -> String {
    serde_json::to_value(arch)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn failed(error: libseccomp::error::SeccompError) -> FilterError {
    FilterError(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Error;

    use super::super::instruction;
    use super::*;

    // `AUDIT_ARCH_*` of `linux/audit.h`; the last is none of the profiles' here.
    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;
    const ARM: u32 = 0x4000_0028;

    fn of(profile: &str) -> Result<Filter, FilterError> {
        Filter::of(&serde_json::from_str(profile).unwrap())
    }

    #[test]
    fn a_filter_answers_for_the_kernel() {
        let filter = of(r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["getpriority", "no_such_call"], "action": "SCMP_ACT_ERRNO",
                          "errnoRet": 28, "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]}]}"#)
        .unwrap();
        // As one process gives it to another.
        let told = serde_json::to_string(&filter).unwrap();
        let filter: Filter = serde_json::from_str(&told).unwrap();
        // On a thread of its own, which it is for.
        std::thread::spawn(move || {
            // SAFETY: a system call without memory arguments.
            let priority = |who| match unsafe { libc::getpriority(libc::PRIO_PROCESS, who) } {
                -1 => Error::last_os_error().raw_os_error(),
                _ => None,
            };
            rustix::thread::set_no_new_privs(true).unwrap();
            assert_ne!(priority(7), Some(libc::ENOSPC));
            filter.install().unwrap();
            assert_eq!(priority(7), Some(libc::ENOSPC));
            assert_ne!(priority(0), Some(libc::ENOSPC));
        })
        .join()
        .unwrap();
    }

    /// What a filter answers to a call: a filter is a program of few instructions
    /// (`Documentation/networking/filter.rst` of Linux), over `struct seccomp_data`.
    fn answer(filter: &Filter, call: u32, arch: u32, args: [u64; 2]) -> u32 {
        let mut data = [0_u32; 16];
        (data[0], data[1]) = (call, arch);
        for (place, arg) in args.into_iter().enumerate() {
            data[4 + 2 * place] = arg as u32;
            data[5 + 2 * place] = (arg >> 32) as u32;
        }
        let (mut next, mut value) = (0, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = instruction(filter.program[next]);
            next += 1;
            let jump = |is_so| usize::from(if is_so { jt } else { jf });
            match u32::from(code) {
                0x20 => value = data[k as usize / 4],
                0x54 => value &= k,
                0x05 => next += k as usize,
                0x15 => next += jump(value == k),
                0x25 => next += jump(value > k),
                0x35 => next += jump(value >= k),
                0x06 => return k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn a_tree_answers_as_a_list_does() {
        /// In the number of a call by the ABI x32.
        const X32: u32 = 0x4000_0000;
        let names: Vec<_> = (0..600)
            .filter_map(|call| ScmpSyscall::from(call).get_name().ok())
            .collect();
        let others = names.iter().enumerate();
        let allowed: Vec<_> = others
            .filter_map(|(place, name)| (place % 7 != 0).then_some(name))
            .collect();
        let profile = serde_json::json!({
            // With this one, nothing is said in front of either.
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                { "names": allowed, "action": "SCMP_ACT_ALLOW" },
                { "names": [names[0]], "action": "SCMP_ACT_ALLOW",
                  "args": [{ "index": 0, "value": 40, "op": "SCMP_CMP_NE" }] },
                { "names": [names[7]], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 },
                { "names": [names[14]], "action": "SCMP_ACT_ALLOW",
                  "args": [{ "index": 1, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
            ],
        });
        let profile = serde_json::from_value(profile).unwrap();
        let [list, tree] =
            [Order::List, Order::Tree].map(|order| Filter::ordered(&profile, order).unwrap());
        assert_ne!(list, tree);
        let mut answers = BTreeSet::new();
        for arch in [X86_64, I386, ARM] {
            for call in (0..700)
                .flat_map(|call| [call, call | X32])
                .chain([u32::MAX])
            {
                for args in [[0, 0], [40, 0], [0, 0x7e02_0000], [1 << 32 | 40, 1 << 40]] {
                    let told = answer(&list, call, arch, args);
                    assert_eq!(
                        told,
                        answer(&tree, call, arch, args),
                        "{call} {arch:#x} {args:x?}"
                    );
                    answers.insert(told);
                }
            }
        }
        // Allowed, both numbers of an error, and killed for the architecture.
        assert_eq!(answers.len(), 4, "{answers:x?}");
    }

    #[test]
    fn calls_newer_than_a_profile_are_not_there() {
        const ALLOW: u32 = 0x7fff_0000;
        const DENIED: u32 = 0x0005_0001;
        const NONE: u32 = 0x0005_0026;
        let filter = |default: &str| {
            let profile = format!(
                r#"{{"defaultAction": {default}, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                     "syscalls": [{{"names": ["read", "openat2", "no_such_call"], "action": "SCMP_ACT_ALLOW"}},
                                  {{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}}]}}"#
            );
            of(&profile).unwrap()
        };
        let denying = filter(r#""SCMP_ACT_ERRNO""#);
        // `openat2` has one number everywhere.
        for arch in [X86_64, I386] {
            let told =
                [400, 437, 438, 1000, u32::MAX].map(|call| answer(&denying, call, arch, [0, 0]));
            assert_eq!(told, [DENIED, ALLOW, NONE, NONE, DENIED], "{arch:#x}");
        }
        let killing = filter(r#""SCMP_ACT_KILL_PROCESS""#);
        assert_eq!(answer(&killing, 438, X86_64, [0, 0]), NONE);
        for default in [
            r#""SCMP_ACT_LOG""#,
            r#""SCMP_ACT_ERRNO", "defaultErrnoRet": 38"#,
        ] {
            let told = |call| answer(&filter(default), call, X86_64, [0, 0]);
            assert_eq!(told(438), told(400), "{default}");
        }
        // Of an architecture that is not the profile's, nothing is said.
        let told = |call| answer(&denying, call, ARM, [0, 0]);
        assert_eq!(told(1000), told(0));
    }

    #[test]
    fn without_rules_the_default_holds() {
        const ALLOW: u32 = 0x7fff_0000;
        for rules in [
            "[]",
            r#"[{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}]"#,
        ] {
            let profile = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {rules}}}"#);
            let filter = of(&profile).unwrap();
            for call in [0, 1, 400] {
                assert_eq!(answer(&filter, call, X86_64, [0, 0]), ALLOW, "{call}");
            }
        }
    }

    #[test]
    fn a_profile_without_flags_leaves_programs_as_fast_as_they_are() {
        let flags = |list: &str| {
            of(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW"{list}}}"#))
                .unwrap()
                .flags
        };
        assert_eq!(
            flags(""),
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as libc::c_uint
        );
        assert_eq!(flags(r#", "flags": []"#), 0);
    }

    #[test]
    fn what_a_container_cannot_be_given_is_named() {
        let notify = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["open"],
            "action": "SCMP_ACT_NOTIFY"}]}"#;
        let error = of(notify).unwrap_err().to_string();
        assert!(error.contains("seccomp: SCMP_ACT_NOTIFY"), "{error}");
        let listener = r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"}"#;
        let error = of(listener).unwrap_err().to_string();
        assert!(error.contains("seccomp: listenerPath"), "{error}");
    }
}
