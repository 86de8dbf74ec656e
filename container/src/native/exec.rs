//! From a fresh process to a program beside the first one of a container, in its
//! namespaces and cgroups; beside a guest, with a tree for Linux programs.
//!
//! The order is runc's (`setns_init_linux.go`): what needs the host's files or
//! privileges comes first, and the system call filter last, or before the
//! privileges go where the process may gain new ones. It is born in the container's pid namespace
//! as late as that allows.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::pty::OpenptFlags;
use trireme_core::plan::{Rlimit, User};
use trireme_core::spec::oci;

use super::confine::drop_capabilities;
use super::order::{ExecOrder, FromHelper, limit_capabilities, refuse_label};
use super::program::{Program, has_home, home_of};
use super::streams::give_streams;
use crate::filter::Filter;
use crate::init::{InitError, adjust_oom_score, credentials, harden, not_dumpable};
use crate::link::{Link, ToInit};
use crate::process::{Cradle, SUBJECT_FD};
use crate::{Doing, SysError, cgroup, crash, stdio, sys};

/// The file system of a container's terminals (`linux/magic.h`).
const DEVPTS: i64 = 0x1cd1;

/// Why a program cannot be executed.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("the order is not understood: {0}")]
    Order(#[from] serde_json::Error),
    #[error("{0}")]
    Process(String),
    #[error("/dev/pts/ptmx is no terminal's")]
    NoTerminal,
    #[error("the server names no tree for it")]
    NoTree,
}

/// Joins a container, says so on the link, and becomes the program of the order
/// when told. Whatever goes wrong is said on the link.
///
/// # Errors
///
/// When nothing can be said on it.
pub fn main() -> io::Result<()> {
    let (link, order, first) = super::given()?;
    let result = ExecOrder::read(order).and_then(|order| {
        let tree = order.tree.then(|| tree(&link)).transpose()?;
        let terminal = prepare(&link, &order, first, tree)?;
        Program::of(Some(&order.process)).map_err(ExecError::Process)?;
        Ok((order, terminal))
    });
    let (order, terminal) = match result {
        Ok(ready) => ready,
        Err(error) => {
            let message = error.to_string();
            return link.send(&FromHelper::Failed { message }, None);
        }
    };
    let pid = rustix::process::getpid().as_raw_pid();
    link.send(
        &FromHelper::Ready { pid },
        terminal.as_ref().map(AsFd::as_fd),
    )?;
    drop(terminal);
    if !matches!(link.receive::<ToInit>()?, Some((ToInit::Start, _))) {
        return Ok(());
    }
    let environment = environment(&order.process);
    // The link closes as this process becomes the program.
    let message = match Program::of(Some(&order.process)) {
        Ok(program) => program.execute(environment),
        Err(why) => why,
    };
    let failed = FromHelper::Failed {
        message: message.clone(),
    };
    // The program's filter may forbid it.
    link.send(&failed, None)
        .map_err(|_| io::Error::other(message))
}

impl ExecOrder {
    fn read(mut file: File) -> Result<Self, ExecError> {
        harden(SUBJECT_FD)?;
        crash::keep();
        let mut text = Vec::new();
        file.read_to_end(&mut text)
            .doing(|| "read the order".into())?;
        let mut order: ExecOrder = serde_json::from_slice(&text)?;
        limit_capabilities(&mut order.process);
        Ok(order)
    }
}

/// The mount namespace that the server hands on.
fn tree(link: &Link) -> Result<OwnedFd, ExecError> {
    match link
        .receive::<ToInit>()
        .doing(|| "wait for the tree".into())?
    {
        Some((ToInit::Tree, Some(tree))) => Ok(tree),
        _ => Err(ExecError::NoTree),
    }
}

/// Becomes what the program is to run as. The master of its terminal, where it
/// has one.
fn prepare(
    link: &Link,
    order: &ExecOrder,
    first: OwnedFd,
    tree: Option<OwnedFd>,
) -> Result<Option<OwnedFd>, ExecError> {
    let process = &order.process;
    refuse_label(process).map_err(ExecError::Process)?;
    if let Some(adjustment) = process.oom_score_adj() {
        adjust_oom_score(adjustment)?;
    }
    cgroup::join(&order.cgroup)?;
    // While the host's /proc is in sight.
    take_profile(process)?;
    sys::join_namespaces(first.as_fd()).doing(|| "join the container's namespaces".into())?;
    let cradle = Cradle::beside(first)?;
    if let Some(tree) = tree {
        sys::join_mounts(tree.as_fd()).doing(|| "join the tree of Linux programs".into())?;
    }
    let terminal = if process.terminal() == Some(true) {
        Some(open_terminal(process)?)
    } else {
        give_streams(process.user())?;
        None
    };
    for limit in Rlimit::from_spec(process.rlimits().as_deref().unwrap_or_default()) {
        credentials::set_limit(&limit)?;
    }
    let cwd = process.cwd();
    // A folder that only the one or only the other may enter.
    let entered = rustix::process::chdir(cwd);
    let enter = || match entered {
        Ok(()) => Ok(()),
        Err(_) => rustix::process::chdir(cwd).doing(|| format!("enter {}", cwd.display())),
    };
    // SAFETY: this process has one thread.
    let be_born =
        || unsafe { cradle.be_born(link, terminal.is_some(), |pid| FromHelper::Born { pid }) };
    match &order.filter {
        // It takes a privilege to be installed, and may forbid to be born.
        Some(filter) if process.no_new_privileges() != Some(true) => {
            be_born()?;
            filter.install()?;
            become_user(process)?;
            enter()?;
        }
        filter => {
            if process.no_new_privileges() == Some(true) {
                rustix::thread::set_no_new_privs(true).doing(|| "set no_new_privs".into())?;
            }
            become_user(process)?;
            enter()?;
            be_born()?;
            filter.as_ref().map_or(Ok(()), Filter::install)?;
        }
    }
    Ok(terminal)
}

fn become_user(process: &oci::Process) -> Result<(), ExecError> {
    let user = process.user();
    rustix::thread::set_keep_capabilities(true).doing(|| "keep capabilities".into())?;
    credentials::become_user(&User {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask(),
    })?;
    rustix::thread::set_keep_capabilities(false).doing(|| "let go of capabilities".into())?;
    not_dumpable()?;
    let sets = process.capabilities().as_ref();
    sets.map_or(Ok(()), drop_capabilities)
        .map_err(ExecError::Process)
}

/// Has the next program that this process executes, or a copy of it, confined by its profile.
fn take_profile(process: &oci::Process) -> Result<(), SysError> {
    let named = process.apparmor_profile().as_ref();
    let Some(profile) = named.filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let open = |path: &str| File::options().write(true).open(path);
    let mut file = open("/proc/self/attr/apparmor/exec")
        .or_else(|_| open("/proc/self/attr/exec"))
        .doing(|| "process.apparmorProfile: AppArmor is not there on this host".into())?;
    file.write_all(format!("exec {profile}").as_bytes())
        .doing(|| format!("take the AppArmor profile {profile}"))
}

/// A new terminal of the container's own, as this process's streams.
fn open_terminal(process: &oci::Process) -> Result<OwnedFd, ExecError> {
    let what = || "open a terminal".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(CWD, "/dev/pts/ptmx", flags, Mode::empty()).doing(what)?;
    // The image may have put anything there.
    if rustix::fs::fstatfs(&master).doing(what)?.f_type != DEVPTS {
        return Err(ExecError::NoTerminal);
    }
    rustix::pty::unlockpt(&master).doing(what)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).doing(what)?;
    let user = process.user();
    rustix::fs::fchown(&slave, Some(Uid::from_raw(user.uid())), None::<Gid>).doing(what)?;
    stdio::replace(&slave).doing(what)?;
    Ok(master)
}

/// The environment, with the home directory of the container's user where it
/// has none.
fn environment(process: &oci::Process) -> Vec<Vec<u8>> {
    let mut environment = process.env().clone().unwrap_or_default();
    let home = (!has_home(&mut environment)).then(|| home_of(process.user().uid()));
    let environment = environment.into_iter().map(String::into_bytes);
    environment.chain(home).collect()
}
