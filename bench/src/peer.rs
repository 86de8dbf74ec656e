//! What is compared: a runtime, with the image and arguments that it gets.

use std::str::FromStr;

use anyhow::{Context, Error, Result};
use serde::Serialize;

const WASM: &str = "trireme.test/guests:latest";
const NATIVE: &str = "trireme.test/native:latest";

/// One runtime under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// What the table calls it.
    pub name: String,
    /// What containerd calls it, `io.containerd.X.v1`.
    pub runtime: String,
    /// The image of its container.
    pub image: String,
    /// The container's arguments; none means the image's own.
    pub arguments: Vec<String>,
}

impl FromStr for Peer {
    type Err = Error;

    /// Reads `NAME=RUNTIME[,IMAGE[,ARGUMENT…]]`; the image is the guests' unless it is named.
    fn from_str(text: &str) -> Result<Self> {
        let form = || format!("`{text}` is not NAME=RUNTIME[,IMAGE[,ARGUMENT…]]");
        let (name, rest) = text.split_once('=').with_context(form)?;
        let mut words = rest.split(',').map(str::to_owned);
        let runtime = words
            .next()
            .filter(|runtime| !runtime.is_empty())
            .with_context(form)?;
        Ok(Self {
            name: name.to_owned(),
            runtime,
            image: words.next().unwrap_or_else(|| WASM.to_owned()),
            arguments: words.collect(),
        })
    }
}

/// The name of the peer that does nothing; every other is compared with it.
pub const NULL: &str = "null";
/// The name of the peer that runs a native program.
pub const RUNC: &str = "runc";

/// The peers of a run that names none.
pub fn defaults() -> Vec<Peer> {
    let peer = |name: &str, runtime: &str, image: &str| Peer {
        name: name.to_owned(),
        runtime: runtime.to_owned(),
        image: image.to_owned(),
        arguments: Vec::new(),
    };
    vec![
        peer(NULL, "io.containerd.null.v1", NATIVE),
        peer(RUNC, "io.containerd.runc.v2", NATIVE),
        peer("per-pod", "io.containerd.wasmtime.v1", WASM),
        peer("per-node", "io.containerd.wasm-node.v1", WASM),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_and_arguments_may_be_left_out() {
        let peer: Peer = "mine=io.containerd.x.v1".parse().unwrap();
        assert_eq!((peer.image.as_str(), peer.arguments.len()), (WASM, 0));
        let peer: Peer = "mine=io.containerd.x.v1,img:1,/a,b".parse().unwrap();
        assert_eq!(peer.image, "img:1");
        assert_eq!(peer.arguments, ["/a", "b"]);
        assert!("mine".parse::<Peer>().is_err());
        assert!("mine=".parse::<Peer>().is_err());
    }
}
