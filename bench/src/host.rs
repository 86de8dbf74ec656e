//! The test host from inside: what peers need of it, and whether it is there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::machine;
use crate::peer::Peer;

/// Where the host has Trireme's programs.
const PROGRAMS: &str = "/opt/trireme/bin";
/// Trireme's shim, which handlers are links to.
const SHIM: &str = "containerd-shim-trireme-v1";

/// What was put into the host for a run; it goes when this is dropped.
pub struct Place {
    engines: String,
    links: Vec<PathBuf>,
}

impl Place {
    /// Links Trireme's shim for handlers that the host has none for.
    ///
    /// # Errors
    ///
    /// When a link cannot be made.
    pub fn set_up(peers: &[Peer]) -> Result<Self> {
        let mut place = Self {
            engines: machine::output("trireme", &["engines"]).unwrap_or_default(),
            links: Vec::new(),
        };
        let folder = Path::new(PROGRAMS);
        for peer in peers.iter().filter(|peer| peer.engine.is_some()) {
            let link = folder.join(peer.shim());
            if folder.join(SHIM).exists() && fs::symlink_metadata(&link).is_err() {
                std::os::unix::fs::symlink(SHIM, &link)
                    .with_context(|| format!("link {}", link.display()))?;
                place.links.push(link);
            }
        }
        Ok(place)
    }

    /// Why a peer cannot run here, where it cannot.
    pub fn lacks(&self, peer: &Peer) -> Option<String> {
        let programs = [peer.shim()].into_iter().chain(peer.runc_binary.clone());
        for program in programs {
            if !is_on_path(&program) {
                return Some(format!("{program} is not on PATH"));
            }
        }
        let engine = peer.engine.as_deref()?;
        let is_there = self
            .engines
            .lines()
            .any(|line| line.split_whitespace().next() == Some(engine));
        (!is_there).then(|| format!("`trireme engines` lists no {engine}"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for link in &self.links {
            if let Err(error) = fs::remove_file(link) {
                eprintln!("bench: remove {}: {error}", link.display());
            }
        }
    }
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    program.starts_with('/') && Path::new(program).exists()
        || env::split_paths(&path).any(|folder| folder.join(program).exists())
}
