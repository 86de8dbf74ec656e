//! `trireme-shim cleanup`: what `delete` leaves to do when a task's state is
//! still there.
//!
//! Either the server lives, then it is asked; or it is gone, and everything it
//! kept for the task is ended and removed here. The `.alive` lock says which,
//! and holding it keeps a new server from coming up meanwhile.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use containerd_shim_protos::shim_async::TaskClient;
use trireme_container::state::{self, Record, StateDir};
use ttrpc::context;

use crate::delete::{LOST, print};
use crate::folder::{self, Alive};
use crate::newcomers;
use crate::server::hooks::Hooks;
use crate::server::log::TaskLog;
use crate::wire::api;

/// containerd gives `delete` five seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// What is left of that for the work where others have had the lock for long.
const LEAST: Duration = Duration::from_secs(1);
/// The pause before another look at a server that does not answer.
const PAUSE: Duration = Duration::from_millis(5);

/// Cleans up after the task of a bundle and prints a `DeleteResponse`.
///
/// # Errors
///
/// When something does not end or cannot be removed in time.
pub fn main(bundle: &Path) -> Result<()> {
    let lost = || print(0, LOST, SystemTime::now());
    let Some(state) = StateDir::of_bundle(bundle) else {
        return lost();
    };
    let server = state
        .server()
        .context("the bundle's link leads to no state")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Some(lock) = folder::lock(server)? else {
            return lost();
        };
        match folder::alive(server)? {
            Alive::Free(_alive) => {
                let deadline = deadline.max(Instant::now() + LEAST);
                return clean(server, &state, deadline);
            }
            // A server that came after the task's own has removed what that one left.
            Alive::Held if !state.exists() => return lost(),
            Alive::Held => {}
        }
        drop(lock);
        // A server that was killed a moment ago has lost its connections, by
        // which containerd knows, and may still have its lock. One that has come
        // after it knows of no such task, and is removing it.
        match ask(bundle, &state, deadline) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// Cleans up after a server that is gone.
fn clean(server: &Path, state: &StateDir, deadline: Instant) -> Result<()> {
    let record = state::clean(state, deadline)?;
    if let Some(record) = &record {
        clean_members(server, record, deadline)?;
    }
    if state::all(server)?.is_empty() {
        newcomers::remove(server).with_context(|| format!("cannot remove {}", server.display()))?;
    }
    if let Some(record) = &record {
        poststop(record, deadline)?;
    }
    let pid = record.and_then(|record| record.processes.first().map(|process| process.pid));
    print(pid.map_or(0, i32::unsigned_abs), LOST, SystemTime::now())
}

/// containerd runs no `delete` for the members of a pod that it reached by the
/// pod's server; they go with the pod's own task.
fn clean_members(server: &Path, pod: &Record, deadline: Instant) -> Result<()> {
    if pod.group != pod.id {
        return Ok(());
    }
    for member in state::all(server)? {
        if member.read()?.is_some_and(|record| record.group == pod.id)
            && let Some(record) = state::clean(&member, deadline)?
        {
            poststop(&record, deadline)?;
        }
    }
    Ok(())
}

/// Runs the hooks that the server would have run after the deletion. A record
/// without a process is of a container that never was.
pub(crate) fn poststop(record: &Record, deadline: Instant) -> Result<()> {
    if record.hooks.poststop.is_empty() || record.processes.is_empty() {
        return Ok(());
    }
    let log = TaskLog::open(&record.bundle, &record.id, false);
    let hooks = Hooks::of(record);
    runtime()?.block_on(async {
        let left = left(deadline);
        if tokio::time::timeout(left, hooks.poststop(&log))
            .await
            .is_err()
        {
            log.warn("the poststop hooks took too long, and were ended");
        }
    });
    Ok(())
}

/// Has the server end and delete the task.
fn ask(bundle: &Path, state: &StateDir, deadline: Instant) -> Result<()> {
    let record = state.read()?.context("the task's state is gone")?;
    let address = std::fs::read_to_string(bundle.join("address"))
        .context("cannot read the bundle's address file")?;
    let within = || context::with_duration(left(deadline));
    let response = runtime()?.block_on(async {
        let client = ttrpc::asynchronous::Client::connect(address.trim())
            .await
            .context("the server lives but does not answer")?;
        let client = TaskClient::new(client);
        let id = record.id.clone();
        let kill = api::KillRequest {
            id: id.clone(),
            signal: libc::SIGKILL as u32,
            all: true,
            ..Default::default()
        };
        // What has ended already cannot be killed, which is as well.
        let _ = client.kill(within(), &kill).await;
        let wait = api::WaitRequest {
            id: id.clone(),
            ..Default::default()
        };
        let _ = client.wait(within(), &wait).await;
        let delete = api::DeleteRequest {
            id,
            ..Default::default()
        };
        client
            .delete(within(), &delete)
            .await
            .context("the server cannot delete the task")
    })?;
    let at = response
        .exited_at
        .clone()
        .into_option()
        .map_or_else(SystemTime::now, |at| {
            SystemTime::UNIX_EPOCH
                + Duration::new(at.seconds.unsigned_abs(), at.nanos.unsigned_abs())
        });
    print(response.pid, response.exit_status, at)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// The time left; some, so that a last call is made and not given up at once.
fn left(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(PAUSE)
}
