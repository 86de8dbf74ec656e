//! Containers and pods that sleep, as many as a benchmark wants, until they are dropped.

mod containers;
mod pods;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

pub use self::containers::{Containers, sleeping};
pub use self::pods::Pods;
use crate::memory;

/// What a container does that sleeps; the guests' image and the native one both have it.
const SLEEP: [&str; 2] = ["/sleep.wasm", "1000000"];
/// How many are removed by one command.
const AT_ONCE: usize = 50;
/// How long what a peer has started may take to go; a server for the node leaves when it was idle
/// for as long as its configuration says.
const GONE: Duration = Duration::from_secs(90);

/// Many of one peer.
pub trait Fleet {
    /// Starts as many as are missing to this number.
    ///
    /// # Errors
    ///
    /// When one cannot be started. It is removed with the others.
    fn fill(&mut self, count: usize) -> Result<()>;

    /// Removes all of them, and what is left of a run that was killed.
    ///
    /// # Errors
    ///
    /// When one cannot be removed.
    fn remove_all(&mut self) -> Result<()>;
}

/// Removes all of a fleet, with the processes that were started for it.
///
/// # Errors
///
/// When one cannot be removed, or processes of shims are left after a while.
pub fn remove(mut fleet: impl Fleet) -> Result<()> {
    fleet.remove_all()?;
    wait_until_gone()
}

/// Waits until no process of a shim or guest is there.
///
/// # Errors
///
/// When some are after a while.
pub fn wait_until_gone() -> Result<()> {
    let deadline = Instant::now() + GONE;
    loop {
        let count = memory::count_processes()?;
        if count == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{count} processes of shims or containers are still there after {GONE:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
