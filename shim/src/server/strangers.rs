//! Children of the server that it has not made.
//!
//! A program that is executed in a container is the server's child, and may have others born as such
//! (`CLONE_PARENT`). A copy that ends before anybody is told of it is one too. They are in the
//! container's pid namespace, whose first process does not end before each of them is reaped.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use trireme_container::process::{reap_stranger, strangers};

/// How long one that has ended is left to whoever may be about to hold it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reaps them when they end, as long as the server runs.
///
/// # Errors
///
/// When the server is not told of its children's ends.
pub(super) fn watch() -> std::io::Result<()> {
    let ends = signal(SignalKind::child())?;
    tokio::spawn(reap_from(ends));
    Ok(())
}

async fn reap_from(mut ends: Signal) {
    let mut seen = Vec::new();
    while !seen.is_empty() || ends.recv().await.is_some() {
        tokio::time::sleep(PATIENCE).await;
        // Where the kernel does not list them there is nothing to reap, as before.
        let mut found = strangers().unwrap_or_default();
        found.retain(|stranger| {
            let is_old = seen.contains(stranger);
            if is_old {
                reap_stranger(*stranger);
            }
            !is_old
        });
        seen = found;
    }
}
