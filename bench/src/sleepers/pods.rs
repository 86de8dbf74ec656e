//! Pods by CRI, with one container in each.

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Fleet;
use crate::interrupt;
use crate::peer::Peer;
use crate::pod::cri::Client;
use crate::task;

/// What their names begin with.
const PREFIX: &str = "sleeper-";

/// Pods of one peer.
pub struct Pods<'a> {
    peer: &'a Peer,
    /// How many were asked for.
    count: usize,
    runtime: Runtime,
    client: Client,
    _folder: TempDir,
}

impl<'a> Pods<'a> {
    /// None yet.
    ///
    /// # Errors
    ///
    /// When containerd does not listen.
    pub fn of(peer: &'a Peer) -> Result<Self> {
        let runtime = task::runtime()?;
        let folder = tempfile::tempdir().context("make a folder for logs")?;
        let client = runtime.block_on(Client::open(folder.path()))?;
        Ok(Self {
            peer,
            count: 0,
            runtime,
            client,
            _folder: folder,
        })
    }
}

impl Fleet for Pods<'_> {
    fn fill(&mut self, count: usize) -> Result<()> {
        while self.count < count {
            interrupt::check()?;
            let name = format!("{PREFIX}{}", self.count);
            self.count += 1;
            let run = self.client.run(self.peer, &name);
            self.runtime
                .block_on(run)
                .with_context(|| format!("start {name}"))?;
        }
        Ok(())
    }

    fn remove_all(&mut self) -> Result<()> {
        self.count = 0;
        self.runtime.block_on(self.client.clear())
    }
}

impl Drop for Pods<'_> {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        if let Err(error) = self.remove_all() {
            eprintln!("bench: remove pods: {error:#}");
        }
    }
}
