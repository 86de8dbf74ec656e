//! Dropping every privilege, in the one order that works.

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use trireme_core::plan::{Plan, Rlimit, User};

use super::{InitError, die_with_parent, not_dumpable};
use crate::filter::Filter;
use crate::{Doing, SysError};

/// Sets limits and user, drops all capabilities and installs the container's filter, for good.
/// Run inside the container's tree; afterwards this process can do what its user can do, and
/// less where the filter says so.
///
/// # Errors
///
/// When the kernel refuses a step; the process must then end.
pub fn drop_all(plan: &Plan, filter: Option<&Filter>) -> Result<(), InitError> {
    drop_privileges(plan)?;
    Ok(filter.map_or(Ok(()), Filter::install)?)
}

/// The same but for the filter, which any process may install from then on.
///
/// # Errors
///
/// As [`drop_all`].
pub fn drop_privileges(plan: &Plan) -> Result<(), InitError> {
    for limit in &plan.rlimits {
        set_limit(limit)?;
    }
    become_nothing(&plan.user)
}

/// Becomes the user, without any capability and without a way to one.
pub(super) fn become_nothing(user: &User) -> Result<(), InitError> {
    rustix::thread::set_no_new_privs(true).doing(|| "set no_new_privs".into())?;
    clear_bounding_set()?;
    become_user(user)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::clear_ambient_capability_set().doing(|| "clear ambient capabilities".into())?;
    rustix::thread::set_capabilities(None, none).doing(|| "drop all capabilities".into())?;
    // A change of credentials has undone both.
    not_dumpable()?;
    Ok(die_with_parent()?)
}

/// Sets a resource limit of this process.
pub(crate) fn set_limit(limit: &Rlimit) -> Result<(), SysError> {
    let value = libc::rlimit64 {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: `value` is an rlimit64 and outlives the call.
    let result = unsafe {
        libc::prlimit64(
            0,
            limit.resource as _,
            &raw const value,
            std::ptr::null_mut(),
        )
    };
    let result = if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    };
    result.doing(|| {
        format!(
            "set resource limit {} to {}:{}",
            limit.resource, limit.soft, limit.hard
        )
    })
}

/// Leaves this process and its copies no capability to gain by executing a program. Those that
/// they have stay.
///
/// # Errors
///
/// When the kernel refuses.
pub fn clear_bounding_set() -> Result<(), SysError> {
    // SAFETY: a plain system call without memory arguments.
    let ask =
        |what, capability: libc::c_ulong| match unsafe { libc::prctl(what, capability, 0, 0, 0) } {
            -1 => Err(std::io::Error::last_os_error()),
            is_there => Ok(is_there != 0),
        };
    for capability in 0..=63 {
        // A zygote has dropped them for its copies, and each that is dropped makes new credentials.
        let dropped = match ask(libc::PR_CAPBSET_READ, capability) {
            Ok(true) => ask(libc::PR_CAPBSET_DROP, capability),
            other => other,
        };
        match dropped {
            Ok(_) => {}
            // Beyond the last one that the kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            Err(error) => {
                return Err(error)
                    .doing(|| format!("drop capability {capability} from the bounding set"));
            }
        }
    }
    Ok(())
}

/// Becomes the user; a process of one thread, whose credentials are the
/// process's.
pub(crate) fn become_user(user: &User) -> Result<(), SysError> {
    let groups: Vec<_> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups)
        .doing(|| format!("set additional groups {:?}", user.groups))?;
    let gid = Gid::from_raw(user.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .doing(|| format!("become group {}", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .doing(|| format!("become user {}", user.uid))?;
    if let Some(umask) = user.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    }
    Ok(())
}

/// The home directory of a user by the text of `/etc/passwd`, as runc has it: `/`
/// for one that is not there.
pub fn home(passwd: &str, uid: u32) -> String {
    let uid = uid.to_string();
    passwd
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.nth(2)? == uid).then(|| fields.nth(2).map(str::to_owned))?
        })
        .unwrap_or_else(|| "/".to_owned())
}
