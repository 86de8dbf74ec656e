//! The server: answers containerd for the containers of one pod, or of every
//! pod of a handler on the node.
//!
//! One thread, on which everything runs and from which every process is
//! spawned: the kernel ties a container's life to that thread. What may take
//! long, reading or writing precompiled code, is done by short-lived threads.

mod abandon;
mod ahead;
mod aside;
mod birth;
mod build;
mod code;
mod container;
mod create;
mod elsewhere;
mod error;
mod events;
mod exec;
mod filters;
pub(crate) mod hooks;
mod inherited;
mod lifetime;
pub(crate) mod log;
mod logger;
mod mounts;
mod native;
mod networks;
mod oom;
mod peers;
mod process;
mod ready;
mod sandbox;
mod scope;
mod service;
mod site;
mod sketch;
mod spawn;
mod strangers;
mod streams;
mod tasks;
mod terminal;
mod tree;
mod zygote;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::FdFlags;
use tokio::net::UnixListener;

use self::peers::Peers;
use crate::order::{ALIVE_FD, LISTENER_FD, ORDER_FD, Order};

/// How long clients may take to hang up after the last answer.
const HANG_UP: Duration = Duration::from_secs(1);

/// Serves until there is nothing left to serve.
///
/// # Errors
///
/// When the order cannot be read or the runtime not be started.
pub fn main() -> Result<()> {
    // SAFETY: `start` hands these three over by their numbers; nothing else in
    // this process knows of them.
    let (listener, order, alive) = unsafe {
        (
            StdListener::from_raw_fd(LISTENER_FD),
            File::from_raw_fd(ORDER_FD),
            OwnedFd::from_raw_fd(ALIVE_FD),
        )
    };
    for fd in [listener.as_fd(), alive.as_fd()] {
        rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).context("cannot keep a descriptor")?;
    }
    let order = read(order)?;
    raise_oom_score();
    // Where that is refused, as with a hard limit above the host's, it has what it was given.
    let _ = trireme_container::open_files::raise();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(listener, order))?;
    drop(alive);
    Ok(())
}

fn read(mut file: File) -> Result<Order> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .context("cannot read the order")?;
    serde_json::from_slice(&text).context("the order is not understood")
}

/// A server goes before containerd when memory runs out, as every shim does.
/// Without the right to change it the score stays.
fn raise_oom_score() {
    let path = "/proc/self/oom_score_adj";
    let own = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(own) = own.filter(|own| *own < 1000) {
        let _ = std::fs::write(path, (own + 1).to_string());
    }
}

async fn serve(listener: StdListener, order: Order) -> Result<()> {
    listener.set_nonblocking(true).context("cannot listen")?;
    let listener = UnixListener::from_std(listener).context("cannot listen")?;
    let (listener, peers) = Peers::of(listener);
    strangers::watch().context("cannot hear of the ends of children")?;
    inherited::clear(&order).await;
    let service = Arc::new(service::Service::new(order)?);
    let mut server = ttrpc::asynchronous::Server::new()
        .add_listener(listener)
        .register_service(tasks::methods(&service))
        .register_service(sandbox::methods(&service));
    server.start().await.context("cannot serve")?;
    inherited::sweep(service.order());
    ahead::watch(&service, &peers);
    lifetime::until_left(&service).await;
    service.maker().zygote.end().await;
    peers.gone(HANG_UP).await;
    server.shutdown().await.context("cannot stop")?;
    Ok(())
}
