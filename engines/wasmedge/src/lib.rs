//! The WasmEdge engine: core modules with WASI 0.1, interpreted or compiled by LLVM.
//!
//! The C interface of WasmEdge is called directly. It is global in three ways:
//! its log, which [`log`] keeps off the guest's stdout; its plugins, which are
//! never looked for; and the thread's executor, of which there is one.

mod code;
mod compile;
mod error;
mod ffi;
mod files;
mod gate;
mod load;
mod log;
mod module;
mod native;
mod owned;
mod run;
mod settings;
mod wasi;

use std::fs::File;

use trireme_engine::{
    Adapter, Engine, EngineError, Info, Kind, Limit, Limits, Preview, Program, Settings, World,
};

use crate::ffi::Configure;
use crate::owned::Owned;

/// The WasmEdge adapter.
pub static ADAPTER: WasmEdge = WasmEdge;

/// WasmEdge as a Trireme engine.
pub struct WasmEdge;

static INFO: Info = Info {
    name: "wasmedge",
    version: "0.17.1",
    kinds: &[Kind::Module],
    worlds: &[World::Command],
    wasi: &[Preview::P1],
    limits: &[Limit::Memory, Limit::Fuel],
    settings: settings::SETTINGS,
};

impl Adapter for WasmEdge {
    fn info(&self) -> &Info {
        &INFO
    }

    fn create(&self, settings: &Settings, limits: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        log::capture();
        let configure = settings::configuration(settings, limits)?;
        let is_native = settings::is_native(settings);
        if is_native {
            native::check(&configure)?;
        }
        Ok(Box::new(Machine {
            configure,
            is_native,
            limits: *limits,
        }))
    }
}

/// WasmEdge with its settings and limits.
struct Machine {
    configure: Owned<Configure>,
    is_native: bool,
    limits: Limits,
}

impl Engine for Machine {
    fn accepts(&self, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
        compile::accepts(&self.configure, wasm, kind)
    }

    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
        compile::compile(&self.configure, self.is_native, wasm, kind)
    }

    unsafe fn load(
        &self,
        code: File,
        _: Kind,
        entry: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError> {
        // SAFETY: the caller vouches for `code`.
        unsafe {
            load::module(
                &self.configure,
                &self.limits,
                code,
                entry.unwrap_or("_start"),
            )
        }
    }
}
