//! Peers that differ in the configuration of Trireme alone.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Error, Result};

use crate::peer::Peer;

const FILE: &str = "/etc/trireme/config.toml";

/// The configuration of a peer, by the peer's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    peer: String,
    file: PathBuf,
}

impl FromStr for PeerConfig {
    type Err = Error;

    /// Reads `NAME=FILE`.
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=');
        let (peer, file) = parts.with_context(|| format!("`{text}` is not NAME=FILE"))?;
        Ok(Self {
            peer: peer.to_owned(),
            file: file.into(),
        })
    }
}

impl fmt::Display for PeerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was configured by {}", self.peer, self.file.display())
    }
}

/// What the host's configuration holds before each start: this of the peer, or what it held
/// before the run.
pub struct Configs {
    own: Option<Vec<u8>>,
    of_peers: Vec<Option<Vec<u8>>>,
}

impl Configs {
    /// Reads all of them.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or is for a peer that there is not.
    pub fn of(peers: &[Peer], configs: &[PeerConfig]) -> Result<Self> {
        let mut of_peers = vec![None; peers.len()];
        for PeerConfig { peer, file } in configs {
            let index = peers.iter().position(|known| known.name == *peer);
            let index = index.with_context(|| format!("--config: there is no peer `{peer}`"))?;
            let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
            of_peers[index] = Some(text);
        }
        Ok(Self {
            own: read()?,
            of_peers,
        })
    }

    /// Puts the configuration of a peer in place, where any peer has one.
    pub fn set(&self, index: usize) -> Result<()> {
        match self.of_peers.iter().any(Option::is_some) {
            true => write(self.of_peers[index].as_deref().or(self.own.as_deref())),
            false => Ok(()),
        }
    }

    /// Puts the host's own back.
    pub fn restore(&self) -> Result<()> {
        match self.of_peers.iter().any(Option::is_some) {
            true => write(self.own.as_deref()),
            false => Ok(()),
        }
    }
}

/// What the host's configuration holds, where there is one.
///
/// # Errors
///
/// When it cannot be read.
pub fn read() -> Result<Option<Vec<u8>>> {
    optional(fs::read(FILE)).with_context(|| format!("read {FILE}"))
}

/// Replaces the host's configuration, or removes it.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(text: Option<&[u8]>) -> Result<()> {
    let done = match text {
        Some(text) => {
            let folder = Path::new(FILE).parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder).and_then(|()| fs::write(FILE, text))
        }
        None => optional(fs::remove_file(FILE).map(|()| Vec::new())).map(drop),
    };
    done.with_context(|| format!("write {FILE}"))
}

/// Nothing where there is no such file.
fn optional(result: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer;

    #[test]
    fn a_configuration_is_of_a_peer_that_there_is() {
        let config: PeerConfig = "nobody=/dev/null".parse().unwrap();
        let error = Configs::of(&peer::all(), &[config]).err().unwrap();
        assert!(error.to_string().contains("`nobody`"), "{error}");
        assert!("nobody".parse::<PeerConfig>().is_err());
    }
}
