//! The system call filter of the OCI specification ("Seccomp" in
//! `config-linux.md`), made with libseccomp.

use std::str::FromStr;

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use trireme_core::spec::oci;

use super::InitError;

/// Installs the filter on this thread, the only one init has.
pub(crate) fn load(profile: &oci::LinuxSeccomp) -> Result<(), InitError> {
    if profile.listener_path().is_some() {
        return Err(InitError::Seccomp(
            "listenerPath: notification is not supported for Wasm containers".into(),
        ));
    }
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default).map_err(failed)?;
    filter.set_ctl_nnp(false).map_err(failed)?;
    for arch in profile.architectures().iter().flatten() {
        // An architecture that this machine does not run is of no use.
        if let Ok(arch) = ScmpArch::from_str(&arch_name(*arch)) {
            let _ = filter.add_arch(arch);
        }
    }
    for flag in profile.flags().iter().flatten() {
        apply_flag(&mut filter, *flag)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        add_rule(&mut filter, default, rule)?;
    }
    filter.load().map_err(failed)
}

fn add_rule(
    filter: &mut ScmpFilterContext,
    default: ScmpAction,
    rule: &oci::LinuxSyscall,
) -> Result<(), InitError> {
    let action = action(rule.action(), rule.errno_ret())?;
    if action == default {
        return Ok(());
    }
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
    }
    Ok(())
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

fn action(action: oci::LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction, InitError> {
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
            return Err(InitError::Seccomp(
                "SCMP_ACT_NOTIFY is not supported for Wasm containers".into(),
            ));
        }
    })
}

fn apply_flag(
    filter: &mut ScmpFilterContext,
    flag: oci::LinuxSeccompFilterFlag,
) -> Result<(), InitError> {
    use oci::LinuxSeccompFilterFlag as F;
    match flag {
        F::SeccompFilterFlagLog => filter.set_ctl_log(true).map(drop).map_err(failed),
        F::SeccompFilterFlagTsync => filter.set_ctl_tsync(true).map(drop).map_err(failed),
        F::SeccompFilterFlagSpecAllow => filter.set_ctl_ssb(true).map(drop).map_err(failed),
        other => Err(InitError::Seccomp(format!("flag {other} is not supported"))),
    }
}

fn arch_name(arch: oci::Arch) -> String {
    serde_json::to_value(arch)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn failed(error: libseccomp::error::SeccompError) -> InitError {
    InitError::Seccomp(error.to_string())
}
