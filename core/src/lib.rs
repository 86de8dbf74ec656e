//! What both sides of Trireme share: configuration, the choice of an engine,
//! what a file is, the plan of a container, its lifecycle and the index of
//! precompiled code.
//!
//! Nothing here depends on an async runtime, on protobuf or on an engine.

pub mod build_id;
pub mod bundle;
pub mod cache;
pub mod config;
pub mod lifecycle;
pub mod memory_file;
pub mod message;
pub mod plan;
pub mod program;
pub mod request;
pub mod shelf;
pub mod spec;
