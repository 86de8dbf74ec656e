//! Namespaces that init joins, and what is set inside the new ones.

use std::fs::{self, File};
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use trireme_core::plan::{NamespaceKind, Plan};

use crate::{Doing, SysError, sys};

/// Joins the namespaces that exist and sets up the ones that are new. Run
/// after init is in its cgroup, so that a new cgroup namespace is rooted there.
///
/// # Errors
///
/// When a namespace is gone, or the kernel refuses a name or parameter.
pub fn enter(plan: &Plan) -> Result<(), SysError> {
    for (kind, path) in plan.namespaces.joined() {
        // The server has had init born in the pid namespace to join.
        if kind != NamespaceKind::Pid {
            join(kind, path)?;
        }
    }
    if plan.namespaces.is_new(NamespaceKind::Cgroup) {
        // SAFETY: init has one thread and shares no file descriptions that a
        // cgroup namespace changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }
            .doing(|| "make a cgroup namespace".into())?;
    }
    if plan.namespaces.is_new(NamespaceKind::Network) {
        sys::interface_up(c"lo").doing(|| "bring the loopback interface up".into())?;
    }
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes())
            .doing(|| format!("set the host name \"{name}\""))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .doing(|| format!("set the domain name \"{name}\""))?;
    }
    for (name, value) in &plan.sysctl {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).doing(|| format!("set kernel parameter {name}"))?;
    }
    Ok(())
}

fn join(kind: NamespaceKind, path: &Path) -> Result<(), SysError> {
    let what = || format!("join the {kind:?} namespace {}", path.display());
    let file = File::open(path).doing(what)?;
    let kind = match kind {
        NamespaceKind::Mount => LinkNameSpaceType::Mount,
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
    };
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(kind))
        .doing(what)
}
