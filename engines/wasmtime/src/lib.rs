//! The wasmtime engine.
//!
//! Core modules with WASI 0.1 and components of `wasi:cli/command` 0.2, on
//! wasmtime's ahead-of-time compiler. Everything that runs a guest does so on
//! the calling thread, in a current-thread tokio runtime made for that one run
//! (`wasmtime-wasi` would start a multi-thread one of its own otherwise).

mod code;
mod compile;
mod error;
mod files;
mod limits;
mod load;
mod names;
mod run;
mod settings;
mod stdio;

use std::cell::OnceCell;
use std::fs::File;

use trireme_engine::{
    Adapter, Engine, EngineError, Info, Kind, Limit, Limits, Preview, Program, Settings, World,
};
use wasmtime::wasmparser::WasmFeatures;

/// The wasmtime adapter.
pub static ADAPTER: Wasmtime = Wasmtime;

/// wasmtime as a Trireme engine.
pub struct Wasmtime;

static INFO: Info = Info {
    name: "wasmtime",
    version: wasmtime_environ::VERSION,
    kinds: &[Kind::Module, Kind::Component],
    worlds: &[World::Command],
    wasi: &[Preview::P1, Preview::P2],
    limits: &[Limit::Memory, Limit::Table, Limit::Stack, Limit::Fuel],
    settings: settings::SETTINGS,
};

impl Adapter for Wasmtime {
    fn info(&self) -> &Info {
        &INFO
    }

    fn create(&self, settings: &Settings, limits: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        let config = settings::config(settings, limits)?;
        let engine = wasmtime::Engine::new(&config)
            .map_err(|error| EngineError::Settings(format!("wasmtime refuses: {error:#}")))?;
        Ok(Box::new(Machine {
            features: engine.get_wasm_features(),
            custom_page_sizes: settings.bool("custom-page-sizes"),
            engine,
            limits: *limits,
            modules: OnceCell::new(),
            components: OnceCell::new(),
        }))
    }
}

/// wasmtime with its settings and limits.
struct Machine {
    engine: wasmtime::Engine,
    features: WasmFeatures,
    custom_page_sizes: bool,
    limits: Limits,
    /// What modules import, made when the first one is loaded.
    modules: OnceCell<load::ModuleLinker>,
    /// What components import, likewise.
    components: OnceCell<load::ComponentLinker>,
}

impl Engine for Machine {
    fn warm_up(&self) -> Result<(), EngineError> {
        // A copy has the stack for signals of the thread that it is a copy of.
        wasmtime::Engine::tls_eager_initialize();
        load::make_linkers(self)
    }

    fn accepts(&self, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
        compile::accepts(self.features, wasm, kind)
    }

    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
        compile::compile(&self.engine, wasm, kind)
    }

    unsafe fn load(
        &self,
        code: File,
        kind: Kind,
        entry: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError> {
        match kind {
            // SAFETY: the caller vouches for `code`, as each of the two asks.
            Kind::Module => unsafe { load::module(self, code, entry) },
            // SAFETY: as above.
            Kind::Component => unsafe { load::component(self, code, entry) },
        }
    }
}
