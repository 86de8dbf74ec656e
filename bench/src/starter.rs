//! One container at a time, by containerd's API.

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::peer::Peer;
use crate::task::{self, Client, Template, Times};

/// The container's name.
const NAME: &str = "bench-one";

/// What starts containers.
pub struct Starter {
    runtime: Runtime,
    client: Client,
    _streams: TempDir,
}

impl Starter {
    /// Connects to containerd.
    ///
    /// # Errors
    ///
    /// When it does not listen.
    pub fn open() -> Result<Self> {
        let runtime = task::runtime()?;
        let streams = tempfile::tempdir().context("make a folder for streams")?;
        let client = runtime.block_on(Client::open(streams.path()))?;
        Ok(Self {
            runtime,
            client,
            _streams: streams,
        })
    }

    /// Runs a container to its end.
    ///
    /// # Errors
    ///
    /// When it fails; nothing of it is left then.
    pub fn run(&self, template: &Template) -> Result<Times> {
        self.runtime.block_on(self.client.run(template, NAME))
    }

    /// The same, and returns the milliseconds from its creation to its removal.
    ///
    /// # Errors
    ///
    /// When it fails; nothing of it is left then.
    pub fn start(&self, template: &Template) -> Result<f64> {
        Ok(self.run(template)?.gone.as_secs_f64() * 1e3)
    }
}

/// The templates of peers, in their order.
///
/// # Errors
///
/// As of [`Template::of`].
pub fn templates(peers: &[Peer]) -> Result<Vec<Template>> {
    peers.iter().map(Template::of).collect()
}
