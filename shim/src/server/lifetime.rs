//! When a server leaves.
//!
//! A server of a pod leaves when containerd shuts it down and no container is
//! left; any server leaves when it had none for the idle time. It decides under
//! the lock of its folder, under which `start` announces a task: one that is
//! announced keeps it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::service::Service;
use crate::folder::{self, STARTING};
use crate::newcomers::{self, PATIENCE};
use crate::order::Order;

/// The pause before another try to leave.
const AGAIN: Duration = Duration::from_millis(100);
/// How long containerd may take to fetch the last events.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// Returns when the server has given up its socket and its folder.
pub async fn until_left(service: &Arc<Service>) {
    let order = service.order();
    let mut idle_since = Instant::now();
    let mut is_asked = false;
    loop {
        if !service.is_empty() {
            service.changed().await;
            (idle_since, is_asked) = (Instant::now(), false);
            continue;
        }
        if !is_asked {
            let idle = idle_since + order.server.idle_timeout;
            tokio::select! {
                () = service.shutdown_asked() => is_asked = true,
                () = tokio::time::sleep_until(idle) => {}
                () = service.changed() => { idle_since = Instant::now(); continue; }
            }
        }
        service.events().drained(LAST_EVENTS).await;
        // Nothing comes in between: there is one thread for all calls.
        if service.is_empty() && try_leave(order) {
            service.leave();
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Removes the folder and the socket unless somebody is about to need them.
fn try_leave(order: &Order) -> bool {
    let _lock = match folder::try_lock(&order.dir) {
        Ok(Some(lock)) => lock,
        Ok(None) => return false,
        // Somebody has removed the folder, and the socket is of no use.
        Err(error) => return error.kind() == io::ErrorKind::NotFound,
    };
    if is_announced(&order.dir) {
        return false;
    }
    let _ = newcomers::remove(&order.dir);
    true
}

fn is_announced(dir: &Path) -> bool {
    let Ok(files) = fs::read_dir(dir.join(STARTING)) else {
        return false;
    };
    files.flatten().any(|file| is_recent(&file))
}

/// Whether the task of an announcement may still come.
pub(super) fn is_recent(announcement: &fs::DirEntry) -> bool {
    let written = announcement.metadata().and_then(|file| file.modified());
    // One of the future was written before somebody set the clock back.
    written.is_ok_and(|written| written.elapsed().map_or(true, |age| age < PATIENCE))
}
