//! Engines as plugins: the C interface, and both of its sides.
//!
//! A plugin is a shared object that exports one table of functions, described
//! in [`abi`]. An [`Adapter`] becomes a plugin by one line in a crate of type
//! `cdylib`:
//!
//! ```
//! trireme_plugin::export!(trireme_engine::testing::fake::ADAPTER);
//! ```
//!
//! With the feature `host`, [`host::open`] opens a plugin and gives its adapter
//! back. `include/trireme_plugin.h` is the same interface for other languages;
//! `docs/plugins.md` walks through a plugin in C.

pub mod abi;
pub mod convert;
pub mod export;
#[cfg(feature = "host")]
pub mod host;
mod memory;

pub use trireme_engine::Adapter;
