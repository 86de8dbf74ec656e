//! What a server finds in its folder of one that was killed there: a server of
//! the node has the same folder as the one before it, and a task may be started
//! before containerd's `delete` has been through with those that were lost.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use trireme_container::state::{self, StateDir};

use super::aside::{apart, aside};
use super::hooks::Hooks;
use super::log::TaskLog;
use crate::cleanup::poststop;
use crate::newcomers;
use crate::order::Order;

/// How long it may take: less than containerd waits for the first answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much longer the next look at what was marked waits than that has to be old.
const LATER: Duration = Duration::from_secs(1);
/// How many tasks are removed at a time, each by a thread.
const AT_ONCE: usize = 16;

/// Ends and removes all of it, before anything of this server's own is made, several tasks at a
/// time: one of which something does not end keeps no other from going. What does not go is left
/// to the next.
pub async fn clear(order: &Order) {
    let deadline = Instant::now() + PATIENCE;
    let mut left = state::all(&order.dir).unwrap_or_default().into_iter();
    let mut clearing = JoinSet::new();
    loop {
        for state in left.by_ref().take(AT_ONCE.saturating_sub(clearing.len())) {
            clearing.spawn(clear_one(state, deadline));
        }
        if clearing.join_next().await.is_none() {
            return;
        }
    }
}

/// Removes servers that died and after which containerd does not clean up, on a thread of its own,
/// or not at all where there is none to be had: what is left of them may take its time to end. Of
/// what died only now, containerd has some time to do so.
pub fn sweep(order: &Order) {
    let Some(run) = order.dir.parent().map(Path::to_owned) else {
        return;
    };
    tokio::spawn(async move {
        let mut is_first = true;
        while swept(run.clone()).await || is_first {
            is_first = false;
            tokio::time::sleep(newcomers::PATIENCE + LATER).await;
        }
    });
}

/// Whether one was found that has to wait for the next time.
async fn swept(run: PathBuf) -> bool {
    let sweep = move || newcomers::sweep(&run, newcomers::PATIENCE, clear_dead);
    apart(sweep).await.unwrap_or(false)
}

/// Ends and removes all that a dead server has left: what one thing does not let go of keeps no
/// other from going.
fn clear_dead(server: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut result = Ok(());
    for state in state::all(server).map_err(io::Error::other)? {
        let cleared = state::clean(&state, deadline)
            .map_err(io::Error::other)
            .and_then(|record| match record {
                Some(record) => poststop(&record, deadline).map_err(io::Error::other),
                None => Ok(()),
            });
        result = result.and(cleared);
    }
    result
}

async fn clear_one(state: StateDir, deadline: Instant) {
    let Ok(record) = state.read() else { return };
    let log = record
        .as_ref()
        .map(|record| TaskLog::open(&record.bundle, &record.id, false));
    let cleaned = aside(move || state::clean(&state, deadline)).await;
    let (Some(record), Some(log)) = (record, log) else {
        return;
    };
    match cleaned {
        Ok(_) if record.processes.is_empty() => {}
        Ok(_) => {
            let left = deadline.saturating_duration_since(Instant::now());
            let hooks = Hooks::of(&record);
            if tokio::time::timeout(left, hooks.poststop(&log))
                .await
                .is_err()
            {
                log.warn("the poststop hooks took too long, and were ended");
            }
        }
        Err(error) => log.warn(&error.to_string()),
    }
}
