//! What a process that becomes an init, or is executed beside one, is told to do.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use serde::de::DeserializeOwned;
use trireme_core::request::EngineChoice;

use super::rootfs::Filesystems;
use crate::link::{FirstOrder, InitOrder, Link, ToInit};
use crate::process;
use crate::{Doing, SysError, cgroup};

/// What a process was told, and what it has made of it before it was to act.
#[derive(Debug)]
pub struct Received {
    /// What it is to do.
    pub order: InitOrder,
    /// File systems of the plan.
    pub filesystems: Filesystems,
}

impl Received {
    /// An order of which nothing has been made.
    fn new(order: InitOrder) -> Self {
        Received {
            order,
            filesystems: Filesystems::default(),
        }
    }
}

/// Reads it, and joins the container's cgroup as soon as that is there. A process that was made
/// before its Create came waits for that here, and takes over its streams; what it may set up before
/// that is given to `meanwhile`.
///
/// # Errors
///
/// When it cannot be read, the server is gone or says anything else, or the cgroup cannot be
/// joined.
///
/// # Safety
///
/// Nobody owns the descriptors of the standard streams.
pub unsafe fn receive(
    link: &Link,
    order: File,
    meanwhile: impl FnOnce(EngineChoice),
) -> Result<Received, SysError> {
    let first: FirstOrder = read(order)?;
    if first.cgroup_later {
        let (message, _) = next(link)?;
        if message != ToInit::Cgroup {
            return Err(unexpected(&message));
        }
    }
    cgroup::join(&first.cgroup)?;
    if let Some(rest) = first.rest {
        return Ok(Received::new(*rest));
    }
    if let Some(engine) = first.engine {
        meanwhile(engine);
    }
    let (mut message, mut descriptors) = next(link)?;
    let mut begun = None;
    if message == ToInit::Plan {
        let order: InitOrder = read(first_of(&mut descriptors)?.into())?;
        let filesystems = Filesystems::ahead(&order.plan);
        begun = Some(Received { order, filesystems });
        (message, descriptors) = next(link)?;
    }
    let ToInit::Order { terminal, root } = message else {
        return Err(unexpected(&message));
    };
    let received = match (root, begun) {
        (None, _) => Received::new(read(first_of(&mut descriptors)?.into())?),
        (Some(root), Some(mut begun)) => {
            begun.order.plan.root.mounts = root;
            begun
        }
        (root, None) => return Err(unexpected(&ToInit::Order { terminal, root })),
    };
    let streams = <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| missing())?;
    // SAFETY: as the caller says.
    unsafe { process::take_streams(&streams, terminal) }
        .doing(|| "take the streams over".into())?;
    Ok(received)
}

/// What the server says next.
fn next(link: &Link) -> Result<(ToInit, Vec<OwnedFd>), SysError> {
    link.receive_all().and_then(present).doing(told)
}

fn first_of(descriptors: &mut Vec<OwnedFd>) -> Result<OwnedFd, SysError> {
    match descriptors.is_empty() {
        true => Err(missing()),
        false => Ok(descriptors.remove(0)),
    }
}

fn missing() -> SysError {
    SysError {
        what: told(),
        source: io::Error::other("not all descriptors came along"),
    }
}

fn read<T: DeserializeOwned>(mut order: File) -> Result<T, SysError> {
    let mut text = Vec::new();
    order
        .read_to_end(&mut text)
        .and_then(|_| Ok(serde_json::from_slice(&text)?))
        .doing(|| "read the container's plan".into())
}

fn present<T>(message: Option<T>) -> io::Result<T> {
    message.ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the server is gone"))
}

fn unexpected(message: &ToInit) -> SysError {
    SysError {
        what: told(),
        source: io::Error::other(format!("unexpected message of the server: {message:?}")),
    }
}

fn told() -> String {
    "be told what to do".to_owned()
}
