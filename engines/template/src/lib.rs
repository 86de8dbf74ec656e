//! An engine adapter to copy: it compiles, tells the truth about itself, and
//! refuses every program.
//!
//! `docs/adding-an-engine.md` turns a copy of it into an engine, function by
//! function.

use std::fs::File;

use trireme_engine::{Adapter, Engine, EngineError, Info, Kind, Limits, Program, Settings, World};

/// The template adapter.
pub static ADAPTER: Template = Template;

/// An engine that runs nothing.
pub struct Template;

static INFO: Info = Info {
    name: "template",
    version: env!("CARGO_PKG_VERSION"),
    kinds: &[Kind::Module],
    worlds: &[World::Command],
    // With `Preview::P1` here, the suite expects modules to run.
    wasi: &[],
    limits: &[],
    settings: &[],
};

impl Adapter for Template {
    fn info(&self) -> &Info {
        &INFO
    }

    /// Once a process, while it still sees the host's files and may load
    /// libraries.
    fn create(&self, _: &Settings, _: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Nothing))
    }
}

/// The engine with its settings and limits.
struct Nothing;

impl Engine for Nothing {
    /// Validates.
    fn accepts(&self, _: &[u8], kind: Kind) -> Result<(), EngineError> {
        Err(EngineError::Rejected(format!(
            "the template engine takes no {kind}"
        )))
    }

    /// In a process of its own, without privileges.
    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
        self.accepts(wasm, kind)?;
        Ok(wasm.to_vec())
    }

    /// In the container: nothing may be opened by path or by `dlopen`.
    unsafe fn load(
        &self,
        _: File,
        _: Kind,
        _: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError> {
        Err(EngineError::Precompiled(
            "the template engine makes none".into(),
        ))
    }
}
