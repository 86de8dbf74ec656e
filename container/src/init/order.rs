//! What a process that becomes an init, or is executed beside one, is told to do.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use serde::de::DeserializeOwned;
use trireme_core::request::EngineChoice;

use crate::link::{FirstOrder, InitOrder, Link, ToInit};
use crate::process;
use crate::{Doing, SysError, cgroup};

/// Reads it, and joins the container's cgroup as soon as that is there. A process that was made
/// before the container's plan was known waits for it here, and takes over its streams; what it
/// may set up before that is given to `meanwhile`.
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
) -> Result<InitOrder, SysError> {
    let first: FirstOrder = read(order)?;
    if first.cgroup_later {
        let message = link.receive().and_then(present).doing(told)?;
        if message.0 != ToInit::Cgroup {
            return Err(unexpected(&message.0));
        }
    }
    cgroup::join(&first.cgroup)?;
    if let Some(rest) = first.rest {
        return Ok(*rest);
    }
    if let Some(engine) = first.engine {
        meanwhile(engine);
    }
    let (message, descriptors) = link.receive_all().and_then(present).doing(told)?;
    let ToInit::Order { terminal } = message else {
        return Err(unexpected(&message));
    };
    let Ok([order, streams @ ..]) = <[OwnedFd; 4]>::try_from(descriptors) else {
        let missing = io::Error::other("not all descriptors came along");
        return Err(missing).doing(told);
    };
    let order = read(order.into())?;
    // SAFETY: as the caller says.
    unsafe { process::take_streams(&streams, terminal) }
        .doing(|| "take the streams over".into())?;
    Ok(order)
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
