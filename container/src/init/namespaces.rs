//! Namespaces that init joins, and what is set inside the container's own.

use std::fs::{self, File};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use trireme_core::plan::{NamespaceKind, Plan, sysctl_namespace};

use crate::{Doing, SysError, sys};

/// Joins the namespaces that exist and sets up the ones that are new. Run
/// after init is in its cgroup, so that a new cgroup namespace is rooted there. A new network
/// namespace may come from [`new_network`].
///
/// # Errors
///
/// When a namespace is gone, the kernel refuses a name or parameter, or one
/// would change a namespace of the host that the path leads to.
pub fn enter(plan: &Plan, network: Option<BorrowedFd<'_>>) -> Result<(), SysError> {
    let mut of_host = Vec::new();
    for (kind, path) in plan.namespaces.joined() {
        // The server has had init born in the pid namespace to join.
        if kind == NamespaceKind::Pid {
            continue;
        }
        if join(kind, path)? == Whose::Host {
            of_host.push(kind);
        }
    }
    spare_host(plan, &of_host)?;
    if plan.namespaces.is_new(NamespaceKind::Cgroup) {
        // SAFETY: init has one thread and shares no file descriptions that a
        // cgroup namespace changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }
            .doing(|| "make a cgroup namespace".into())?;
    }
    if let Some(network) = network {
        rustix::thread::move_into_link_name_space(network, Some(LinkNameSpaceType::Network))
            .doing(|| "join the new network namespace".into())?;
    } else if plan.namespaces.is_new(NamespaceKind::Network) {
        loopback_up()?;
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

fn loopback_up() -> Result<(), SysError> {
    sys::interface_up(c"lo").doing(|| "bring the loopback interface up".into())
}

/// Makes a network namespace for a container to come, with its loopback interface up. The
/// calling thread stays in it, so that it is one to end.
///
/// # Errors
///
/// When the kernel refuses.
pub fn new_network() -> Result<OwnedFd, SysError> {
    // SAFETY: a network namespace is no part of what threads share.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .doing(|| "make a network namespace".into())?;
    loopback_up()?;
    let file = File::open("/proc/thread-self/ns/net").doing(|| "open a new namespace".into())?;
    Ok(file.into())
}

/// Refuses what would be set in a namespace that turned out to be the host's.
/// The plan has refused it where no namespace was named at all.
fn spare_host(plan: &Plan, of_host: &[NamespaceKind]) -> Result<(), SysError> {
    let parameter = plan.sysctl.keys().find(|name| {
        sysctl_namespace(&name.replace('/', ".")).is_some_and(|kind| of_host.contains(&kind))
    });
    let named = plan.hostname.is_some() || plan.domainname.is_some();
    let what = match parameter {
        Some(name) => format!("set kernel parameter {name}"),
        None if named && of_host.contains(&NamespaceKind::Uts) => "set the host name".to_owned(),
        None => return Ok(()),
    };
    let why = "the namespace to join is the host's own; give the container another";
    Err(io::Error::other(why)).doing(|| what)
}

/// Whose a namespace is that was joined.
#[derive(PartialEq, Eq)]
enum Whose {
    Host,
    Other,
}

fn join(kind: NamespaceKind, path: &Path) -> Result<Whose, SysError> {
    let what = || format!("join the {kind:?} namespace {}", path.display());
    let file = File::open(path).doing(what)?;
    let whose = whose(kind, &file).doing(what)?;
    let kind = match kind {
        NamespaceKind::Mount => LinkNameSpaceType::Mount,
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
    };
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(kind))
        .doing(what)?;
    Ok(whose)
}

/// Before init joins one, its own namespace of a kind that is not new is the
/// server's, which is the host's.
fn whose(kind: NamespaceKind, file: &File) -> io::Result<Whose> {
    let name = match kind {
        NamespaceKind::Mount => "mnt",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Network => "net",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::Cgroup => "cgroup",
    };
    let (there, here) = (
        file.metadata()?,
        fs::metadata(format!("/proc/self/ns/{name}"))?,
    );
    Ok(if (there.dev(), there.ino()) == (here.dev(), here.ino()) {
        Whose::Host
    } else {
        Whose::Other
    })
}
