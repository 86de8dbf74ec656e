//! What `start` hands to the server that it spawns.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trireme_core::config::{CacheConfig, HandlerLimits, Network, ServerConfig, ServerMode};
use trireme_core::request::EngineChoice;

/// The descriptor of the listening socket in a new server.
pub const LISTENER_FD: i32 = 3;
/// The descriptor of the order.
pub const ORDER_FD: i32 = 4;
/// The descriptor of the file whose lock says that the server lives.
pub const ALIVE_FD: i32 = 5;

/// All that a server needs to know; it reads no configuration of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The server's folder below `/run/trireme`.
    pub dir: PathBuf,
    /// The path of its socket.
    pub socket: PathBuf,
    /// The address of containerd's gRPC socket.
    pub containerd: String,
    /// The address of containerd's ttrpc socket, for events.
    pub events: String,
    /// The namespace in containerd.
    pub namespace: String,
    /// Whether it serves one pod or every pod of the handler.
    pub mode: ServerMode,
    /// The engine, as the handler wants it.
    pub engine: EngineChoice,
    /// Whether guests may use their container's network.
    pub network: Network,
    /// Limits of the handler.
    pub limits: HandlerLimits,
    /// The cache of precompiled code.
    pub cache: CacheConfig,
    /// How a server behaves.
    pub server: ServerConfig,
    /// Whether to log what is of use to developers only.
    pub debug: bool,
}
