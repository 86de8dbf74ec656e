//! What an engine says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Limit, Setting};

/// What an engine is. Constant for one build.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// The name by which configuration selects it: lower case letters, digits
    /// and `-`.
    pub name: &'static str,
    /// The engine's own version.
    pub version: &'static str,
    /// The kinds of WebAssembly it takes.
    pub kinds: &'static [Kind],
    /// The worlds it can run.
    pub worlds: &'static [World],
    /// The levels of WASI it offers.
    pub wasi: &'static [Preview],
    /// The limits it enforces; a handler that asks for another is refused.
    pub limits: &'static [Limit],
    /// The settings it takes.
    pub settings: &'static [Setting],
}

/// The kind of a WebAssembly binary, told apart by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A core module: version field 1.
    Module,
    /// A component of the component model: layer field 1.
    Component,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Module => "module",
            Kind::Component => "component",
        })
    }
}

/// What a program is run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// A program with arguments, stdio and an exit code: `_start` of a WASI
    /// 0.1 command, or `wasi:cli/command`.
    Command,
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            World::Command => "command",
        })
    }
}

/// A level of WASI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Preview {
    /// WASI 0.1, `wasi_snapshot_preview1`.
    #[serde(rename = "0.1")]
    P1,
    /// WASI 0.2.
    #[serde(rename = "0.2")]
    P2,
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Preview::P1 => "0.1",
            Preview::P2 => "0.2",
        })
    }
}
