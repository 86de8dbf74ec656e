//! What is compared: a runtime, with the image and arguments that it gets.

use std::str::FromStr;

use anyhow::{Context, Error, Result};
use serde::{Deserialize, Serialize};

const WASM: &str = "trireme.test/guests:latest";
const NATIVE: &str = "trireme.test/native:latest";

/// What the names of peers end with whose pods have no pause container.
pub const WITHOUT_PAUSE: &str = ", no pause";

/// One runtime under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// What the table calls it.
    pub name: String,
    /// What containerd calls it, `io.containerd.X.v1`.
    pub runtime: String,
    /// The program that the runc shim runs in runc's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runc_binary: Option<String>,
    /// The handler that CRI has for it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cri_handler: Option<String>,
    /// The image of its container.
    pub image: String,
    /// The container's arguments; none means the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Annotations of its OCI specification.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<(String, String)>,
    /// Whether its containers have containerd's default system call filter, which is that of Docker
    /// and of the profile `RuntimeDefault` of Kubernetes too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filtered: bool,
    /// The engine of Trireme that it needs, where it is Trireme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// A peer that is not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub peer: String,
    /// Why it is not there.
    pub reason: String,
}

impl LeftOut {
    /// Whether it is one that not every host can have: crun, WasmEdge's library, pods by the
    /// sandbox API of containerd 2.
    pub fn may_be_missing(&self) -> bool {
        let optional = ["crun", "wasmedge/"];
        optional.iter().any(|name| self.peer.starts_with(name))
            || self.peer.ends_with(WITHOUT_PAUSE)
    }
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
            ..Self::default()
        })
    }
}

/// The name of the peer that does nothing; every other is compared with it.
pub const NULL: &str = "null";
/// The name of the peer that runs a native program.
pub const RUNC: &str = "runc";

/// All peers that a run measures that names none: those that a host does not have are left out
/// there, with a reason.
pub fn all() -> Vec<Peer> {
    let mut peers = vec![
        native(NULL, "io.containerd.null.v1").handled("null"),
        native(RUNC, "io.containerd.runc.v2").handled("runc"),
        Peer {
            runc_binary: Some("crun".to_owned()),
            ..native("crun", "io.containerd.runc.v2")
        },
        Peer {
            runc_binary: Some("crun".to_owned()),
            image: WASM.to_owned(),
            annotations: vec![("run.oci.handler".to_owned(), "wasm".to_owned())],
            ..native(CRUN_WASMEDGE, "io.containerd.runc.v2")
        },
    ];
    for engine in ["wasmtime", "wasmer", "wasmedge"] {
        let per_node = match engine {
            "wasmtime" => "wasm-node".to_owned(),
            other => format!("{other}-node"),
        };
        peers.push(trireme(engine, "pod", engine));
        peers.push(trireme(engine, "node", &per_node));
    }
    peers
}

/// The name of the peer that is crun with WasmEdge in it.
pub const CRUN_WASMEDGE: &str = "crun+wasmedge";

fn native(name: &str, runtime: &str) -> Peer {
    Peer {
        name: name.to_owned(),
        runtime: runtime.to_owned(),
        image: NATIVE.to_owned(),
        ..Peer::default()
    }
}

/// Trireme with an engine and one server per pod or per node.
pub fn trireme(engine: &str, per: &str, handler: &str) -> Peer {
    Peer {
        image: WASM.to_owned(),
        engine: Some(engine.to_owned()),
        ..native(
            &format!("{engine}/{per}"),
            &format!("io.containerd.{handler}.v1"),
        )
    }
    .handled(handler)
}

impl Peer {
    /// With a handler of CRI.
    pub fn handled(mut self, handler: &str) -> Self {
        self.cri_handler = Some(handler.to_owned());
        self
    }

    /// The flags of `ctr` that its specification depends on.
    pub fn flags(&self) -> Vec<String> {
        let annotations = self.annotations.iter();
        let annotations = annotations.map(|(key, value)| format!("--annotation={key}={value}"));
        let filter = self.filtered.then(|| "--seccomp".to_owned());
        annotations.chain(filter).collect()
    }

    /// The name of its shim's program: `io.containerd.X.v1` is `containerd-shim-X-v1`.
    pub fn shim(&self) -> String {
        let words: Vec<_> = self.runtime.rsplitn(3, '.').collect();
        match words[..] {
            [version, name, _] => format!("containerd-shim-{name}-{version}"),
            _ => self.runtime.clone(),
        }
    }
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

    #[test]
    fn a_shim_is_named_after_its_runtime() {
        assert_eq!(
            native("x", "io.containerd.runc.v2").shim(),
            "containerd-shim-runc-v2"
        );
        let names: Vec<_> = all().iter().map(Peer::shim).collect();
        assert!(
            names.contains(&"containerd-shim-wasmer-node-v1".to_owned()),
            "{names:?}"
        );
    }
}
