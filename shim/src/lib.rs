//! The containerd shim: `containerd-shim-<handler>-v1`, which containerd runs
//! to start and to clean up, and `trireme-shim`, the server that answers it.
//!
//! The first is small and static and holds neither an engine nor an async
//! runtime; it is in the path of every start and every delete. Feature
//! `server` adds the second.

pub mod args;
#[cfg(feature = "server")]
pub mod cleanup;
pub mod delete;
#[cfg(feature = "server")]
pub mod fetch;
pub mod folder;
pub mod info;
pub mod install;
pub mod newcomers;
pub mod order;
#[cfg(feature = "server")]
pub mod server;
pub mod start;
pub mod wire;
