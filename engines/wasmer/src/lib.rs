//! The wasmer engine.
//!
//! Core modules with WASI 0.1 and those extensions of WASIX that need neither a
//! second thread nor a second process, on wasmer's ahead-of-time compiler.
//! Everything that runs a guest does so on the calling thread; see [`wait`] for
//! how `wasmer-wasix` is kept from having threads of its own.

mod code;
mod compile;
mod error;
mod file;
mod files;
mod host;
mod imports;
mod limits;
mod load;
mod run;
mod settings;
mod stdio;
mod wait;

use std::fs::File;

use trireme_engine::{
    Adapter, Engine, EngineError, Info, Kind, Limit, Limits, Preview, Program, Settings, World,
};
use wasmer::sys::{EngineBuilder, NativeEngineExt};

/// The wasmer adapter.
pub static ADAPTER: Wasmer = Wasmer;

/// wasmer as a Trireme engine.
pub struct Wasmer;

static INFO: Info = Info {
    name: "wasmer",
    version: wasmer::sys::vm::VERSION,
    kinds: &[Kind::Module],
    worlds: &[World::Command],
    wasi: &[Preview::P1],
    limits: &[Limit::Memory, Limit::Table, Limit::Stack, Limit::Fuel],
    settings: settings::SETTINGS,
};

impl Adapter for Wasmer {
    fn info(&self) -> &Info {
        &INFO
    }

    fn create(&self, settings: &Settings, limits: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        let mut runner = wasmer::Engine::from(EngineBuilder::headless());
        runner.set_tunables(limits::Limiter::new(limits)?);
        Ok(Box::new(Machine {
            compiler: settings::Compiler::new(settings, limits),
            runner,
            limits: *limits,
        }))
    }
}

/// wasmer with its settings and limits.
struct Machine {
    compiler: settings::Compiler,
    /// What runs guests holds no compiler, so none can make it compile.
    runner: wasmer::Engine,
    limits: Limits,
}

impl Engine for Machine {
    fn accepts(&self, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
        compile::accepts(&self.compiler, wasm, kind)
    }

    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
        compile::compile(&self.compiler, wasm, kind)
    }

    unsafe fn load(
        &self,
        code: File,
        _: Kind,
        entry: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError> {
        // SAFETY: the caller vouches for `code`.
        unsafe { load::module(&self.runner, &self.limits, code, entry.unwrap_or("_start")) }
    }
}
