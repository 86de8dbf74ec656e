//! An executor whose guests do as they are told: what `trireme-executor init` says to the server,
//! with nothing behind it.

use std::fs::File;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rustix::net::Shutdown;
use trireme_container::filter::Filter;
use trireme_container::init::{order, signals};
use trireme_container::link::{FromInit, InitOrder, Link, ToInit};
use trireme_container::process::{LINK_FD, PLAN_FD};
use trireme_core::plan::Plan;

/// A guest that is not there.
pub const NOTHING: &str = "/nothing.wasm";
/// A guest that is never ready.
pub const NEVER: &str = "/never.wasm";
/// A guest that is ready, and hears nothing any more.
pub const DEAF: &str = "/deaf.wasm";
/// A Linux program.
pub const LINUX: &str = "/busybox";
/// In a bundle: a FIFO that lets the guest end.
pub const END: &str = "end";

/// Acts as a container's init.
pub fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("fake executor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u8> {
    // SAFETY: the server hands these two descriptors over by their numbers; nothing else in this
    // process knows of them.
    let (link, order) = unsafe {
        (
            Link::from(OwnedFd::from_raw_fd(LINK_FD)),
            File::from_raw_fd(PLAN_FD),
        )
    };
    // SAFETY: the standard streams have been the guest's from the beginning.
    let InitOrder {
        plan,
        filter,
        hooks,
        look,
        ..
    } = unsafe { order::receive(&link, order, |_| ())? }.order;
    filter.as_ref().map_or(Ok(()), Filter::install)?;
    if hooks {
        link.send(&FromInit::Built, None)?;
        link.receive::<ToInit>()?;
    }
    if plan.entry.path == NEVER {
        link.receive::<ToInit>()?;
        bail!("the server is gone");
    }
    if plan.entry.path == LINUX {
        link.send(&FromInit::Native, None)?;
        return Ok(0);
    }
    if look {
        let message = "a guest".to_owned();
        link.send(&FromInit::Failed { message }, None)?;
        return Ok(1);
    }
    if plan.entry.path == NOTHING {
        let message = format!("exec: \"{}\": no such file or directory", plan.entry.path);
        link.send(&FromInit::Failed { message }, None)?;
        return Ok(1);
    }
    signals::install()?;
    if plan.entry.path == DEAF {
        // SAFETY: it is open, as the link above is.
        let socket = unsafe { BorrowedFd::borrow_raw(LINK_FD) };
        rustix::net::shutdown(socket, Shutdown::Read)?;
        link.send(&FromInit::Ready, None)?;
        wait_for_end(&plan)?;
        return Ok(0);
    }
    link.send(&FromInit::Ready, None)?;
    let Some((ToInit::Start, _)) = link.receive::<ToInit>()? else {
        bail!("the server is gone");
    };
    drop(link);
    wait_for_end(&plan)?;
    // The words of the guests that the transcripts were recorded with.
    match plan.args.get(1) {
        Some(status) if plan.entry.path == "/exit.wasm" => {
            status.parse().context("an exit status was expected")
        }
        _ => Ok(0),
    }
}

/// Opening a FIFO to read waits for a writer, whom a sleeping guest never has.
fn wait_for_end(plan: &Plan) -> Result<()> {
    let bundle = plan.root.path.parent().map(PathBuf::from);
    let end = bundle.context("no bundle")?.join(END);
    File::open(&end).with_context(|| format!("open {}", end.display()))?;
    Ok(())
}
