//! `trireme-shim fetch`: finds the program of a container whose image is an OCI
//! artifact, and ends.
//!
//! Such an image's layers are WebAssembly and no root file system, so that the
//! program is in containerd's content store and nowhere else. The server has
//! this process look there only when init has not found the entry point in the
//! container's tree: what speaks gRPC is loaded in no server and in no ordinary
//! start. It gets one request on its standard input, a socket, and answers with
//! one message that carries the open program.

mod containerd;
mod find;
mod message;

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use trireme_container::link::Link;

pub use message::{Answer, Module, Request};

use self::containerd::Containerd;
use self::find::FetchError;

/// How long it may take to find and open a program.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Answers the one request.
///
/// # Errors
///
/// When there is no request, or nobody to answer.
pub fn main() -> Result<()> {
    // Whoever asked is gone when this one's parent is.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot set the parent death signal")?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let link = Link::from(stdin.context("standard input is closed")?);
    let (request, _) = link
        .receive::<Request>()
        .context("the request is not understood")?
        .context("this is run by a server, which asks on standard input")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (answer, file) = runtime.block_on(answer(&request));
    link.send(&answer, file.as_ref().map(AsFd::as_fd))
        .context("the server is gone")
}

async fn answer(request: &Request) -> (Answer, Option<std::fs::File>) {
    let work = async {
        let containerd = Containerd::connect(&request.address, &request.namespace).await?;
        find::module(&containerd, &request.id, &request.path).await
    };
    let slow = FetchError::Slow {
        address: request.address.clone(),
    };
    let result = tokio::time::timeout(PATIENCE, work).await;
    match result.unwrap_or(Err(slow)) {
        Ok((module, file)) => (Answer::Module(module), Some(file)),
        Err(error) => (error.answer(), None),
    }
}
