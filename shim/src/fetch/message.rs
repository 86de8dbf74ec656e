//! What the server and the process that fetches say to each other.

use serde::{Deserialize, Serialize};
use trireme_engine::Kind;

/// What the server wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The address of containerd's gRPC socket.
    pub address: String,
    /// The namespace in containerd.
    pub namespace: String,
    /// The container.
    pub id: String,
    /// The path of its entry point.
    pub path: String,
}

/// What the server is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The program, whose descriptor comes along.
    Module(Module),
    /// The image has no such layers, or it cannot be told whether it has: the
    /// entry point is missing, and that is all.
    NotThere {
        /// Why, for the log.
        reason: String,
    },
    /// The image has such layers, but they cannot be used.
    Failed {
        /// Why.
        message: String,
    },
}

/// A program that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Module or component, by its first bytes.
    pub kind: Kind,
    /// The SHA-256 of its bytes in hexadecimal, where its digest is that.
    pub sha256: Option<String>,
    /// What it is called in its image.
    pub title: Option<String>,
    /// The image and the digest of the layer, for messages.
    pub origin: String,
}
