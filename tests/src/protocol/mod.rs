//! The shim protocol seen from outside: frames of ttrpc, messages as JSON, transcripts of what a
//! containerd and a shim said to each other, and a table of what a shim answers in which state.
//!
//! Nothing here uses the code of the shim: it is what the shim is held against.

pub mod client;
pub mod events;
pub mod frame;
pub mod json;
pub mod methods;
pub mod recorder;
pub mod states;
pub mod transcript;
