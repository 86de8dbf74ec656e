//! The wasmi engine, an interpreter, for modules of WASI 0.1. It exists as a
//! plugin alone.
//!
//! wasmi has no precompiled code. What stands in its place is the module
//! itself, once it is known to be valid: `compile` validates and returns its
//! input, and `load` turns each function into wasmi's own form when it is first
//! called. So the compiler process refuses what is malformed, and a start does
//! not wait for functions that are never run.

mod folder;
mod load;
mod run;
mod unwritten;

use std::fs::File;

use trireme_engine::{
    Adapter, Engine, EngineError, Info, Kind, Limit, Limits, Preview, Program, Settings, World,
};
use wasmi::{CompilationMode, Config, Module};

trireme_plugin::export!(ADAPTER);

/// The wasmi adapter.
pub static ADAPTER: Wasmi = Wasmi;

/// wasmi as a Trireme engine.
pub struct Wasmi;

static INFO: Info = Info {
    name: "wasmi",
    version: "2.0.0",
    kinds: &[Kind::Module],
    worlds: &[World::Command],
    wasi: &[Preview::P1],
    limits: &[Limit::Memory, Limit::Table, Limit::Stack, Limit::Fuel],
    settings: &[],
};

/// Bytes of stack where the handler sets no limit: what Linux gives a program.
const STACK: u64 = 8 << 20;
/// Bytes of stack that a call stands for besides its values. wasmi counts calls
/// apart, and stops at 1000 of its own accord, which C programs exceed.
const CALL: usize = 64;
/// Bytes of stack that wasmi begins with, and so the least it takes.
const FIRST_STACK: usize = 1000;

impl Adapter for Wasmi {
    fn info(&self) -> &Info {
        &INFO
    }

    fn create(&self, _: &Settings, limits: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        let stack = usize::try_from(limits.stack.unwrap_or(STACK)).unwrap_or(usize::MAX);
        if stack < FIRST_STACK {
            return Err(EngineError::Settings(format!(
                "limits.stack: wasmi takes {FIRST_STACK} bytes at least, not {stack}"
            )));
        }
        let mut config = Config::default();
        config
            .consume_fuel(limits.fuel.is_some())
            .compilation_mode(CompilationMode::LazyTranslation)
            .set_max_stack_height(stack)
            .set_max_recursion_depth(stack / CALL);
        Ok(Box::new(Interpreter {
            engine: wasmi::Engine::new(&config),
            limits: *limits,
        }))
    }
}

/// wasmi with its limits.
struct Interpreter {
    engine: wasmi::Engine,
    limits: Limits,
}

impl Engine for Interpreter {
    fn accepts(&self, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
        if kind == Kind::Component {
            return Err(EngineError::modules_only("wasmi"));
        }
        Module::validate(&self.engine, wasm).map_err(|error| {
            EngineError::Rejected(format!("not a module that wasmi takes: {error}"))
        })
    }

    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
        self.accepts(wasm, kind)?;
        Ok(wasm.to_vec())
    }

    unsafe fn load(
        &self,
        code: File,
        _: Kind,
        entry: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError> {
        load::module(&self.engine, &self.limits, code, entry.unwrap_or("_start"))
    }
}
