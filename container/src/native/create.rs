//! The helper: makes a container and lets it run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use rustix::mount::MountPropagationFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, Signal};

use super::order::{FromHelper, HelperOrder};
use super::program::LinuxProgram;
use super::streams::give_streams;
use super::trace;
use crate::cgroup;
use crate::init::harden;
use crate::init::mounting::mount_root;
use crate::link::{Link, ToInit};
use crate::process::{LINK_FD, PLAN_FD};
use crate::{Doing, SysError, stdio};

/// The socket over which a terminal's master comes, in the container's folder.
const TERMINAL: &str = "terminal";

/// Why a container cannot be made.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error("the order is not understood: {0}")]
    Order(#[from] serde_json::Error),
    #[error("{}{}", innermost(.0), .1.as_ref().map(|said| format!(" ({said})")).unwrap_or_default())]
    Container(LibcontainerError, Option<String>),
    #[error("the container's process has no pid")]
    NoPid,
}

/// Makes the container of an order, says so on the link, and lets it run when
/// told. Whatever goes wrong is said on the link.
///
/// # Errors
///
/// When the server is gone.
pub fn main() -> io::Result<()> {
    // SAFETY: the server hands these two descriptors over by their numbers;
    // nothing else in this process knows of them.
    let (link, order) = unsafe {
        (
            Link::from(OwnedFd::from_raw_fd(LINK_FD)),
            File::from_raw_fd(PLAN_FD),
        )
    };
    match make(order) {
        Ok(Made {
            mut container,
            pid,
            terminal,
        }) => {
            // Whoever reads the output is told of its end by the last of those that can write, and
            // this process may be there when the container's is gone.
            stdio::replace(stdio::null()?)?;
            let ready = FromHelper::Ready { pid };
            link.send(&ready, terminal.as_ref().map(AsFd::as_fd))?;
            drop(terminal);
            let told = link.receive::<ToInit>()?;
            if matches!(told, Some((ToInit::Start, _)))
                && container.start().is_err()
                && let Some(first) = Pid::from_raw(pid)
            {
                // It would wait for ever; its end is reported.
                let _ = rustix::process::kill_process(first, Signal::KILL);
            }
            Ok(())
        }
        Err(error) => {
            let message = error.to_string();
            link.send(&FromHelper::Failed { message }, None)
        }
    }
}

struct Made {
    container: Container,
    pid: i32,
    terminal: Option<OwnedFd>,
}

fn make(mut order: File) -> Result<Made, HelperError> {
    harden(PLAN_FD)?;
    let mut text = Vec::new();
    order
        .read_to_end(&mut text)
        .doing(|| "read the order".into())?;
    drop(order);
    let mut order: HelperOrder = serde_json::from_slice(&text)?;
    let program = LinuxProgram::of(&mut order.spec, order.confinement.take());
    let HelperOrder {
        dir, spec, rootfs, ..
    } = &order;
    let place = spec
        .root()
        .as_ref()
        .map_or(Path::new("/"), |root| root.path());
    if !rootfs.is_empty() {
        // What is mounted below it would else appear in the host's namespace too.
        rustix::mount::mount_change("/proc", MountPropagationFlags::PRIVATE)
            .doing(|| "keep mounts to the container".into())?;
    }
    for mount in rootfs {
        mount_root(place, mount)?;
    }
    let what = || format!("write the specification to {}", dir.display());
    fs::write(dir.join("config.json"), serde_json::to_vec(spec)?).doing(what)?;
    let process = spec.process().as_ref();
    let listener = process
        .is_some_and(|process| process.terminal() == Some(true))
        .then(|| listen(dir))
        .transpose()?;
    if let (None, Some(process)) = (&listener, process) {
        give_streams(process.user())?;
    }
    cgroup::join(&order.cgroup)?;
    let errors = trace::collect().doing(|| "collect errors".into())?;
    let made = build(&order, program, listener.is_some());
    let container = made.map_err(|error| HelperError::Container(error, errors.first()))?;
    let pid = container.pid().ok_or(HelperError::NoPid)?.as_raw();
    let terminal = listener
        .map(|listener| take_terminal(&listener))
        .transpose()?;
    Ok(Made {
        container,
        pid,
        terminal,
    })
}

fn build(
    order: &HelperOrder,
    program: LinuxProgram,
    has_terminal: bool,
) -> Result<Container, LibcontainerError> {
    let HelperOrder { id, dir, .. } = order;
    let mut builder = ContainerBuilder::new(id.clone(), SyscallType::default())
        .with_executor(program)
        .with_root_path(dir)?;
    if has_terminal {
        builder = builder.with_console_socket(Some(dir.join(TERMINAL)));
    }
    builder
        .as_init(dir)
        .with_systemd(false)
        .with_detach(true)
        .as_sibling(true)
        .build()
}

/// A socket in the container's folder, whose path may be longer than an address
/// takes.
fn listen(dir: &Path) -> Result<UnixListener, SysError> {
    let what = || format!("listen for the terminal in {}", dir.display());
    let here = std::env::current_dir().doing(what)?;
    std::env::set_current_dir(dir).doing(what)?;
    let listener = UnixListener::bind(TERMINAL).doing(what)?;
    std::env::set_current_dir(here).doing(what)?;
    Ok(listener)
}

fn take_terminal(listener: &UnixListener) -> Result<OwnedFd, SysError> {
    let what = || "take the container's terminal".to_owned();
    let (stream, _) = listener.accept().doing(what)?;
    received(&stream)
        .and_then(|fd| fd.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof)))
        .doing(what)
}

fn received(stream: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut name = [0; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(
        stream,
        &mut [io::IoSliceMut::new(&mut name)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    Ok(ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

/// The cause of a failure; what stands around it tells of the library's own
/// processes and says the same again.
fn innermost(error: &LibcontainerError) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    let known = [
        "failed to create container: ",
        "exec process failed with error ",
        "error in executing process : ",
        "intermediate process error ",
    ];
    let mut text = text.as_str();
    while let Some(rest) = known.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text.to_owned()
}
