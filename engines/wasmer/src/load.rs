//! Precompiled code to a program whose imports and entry are resolved.

use std::fs::File;

use trireme_engine::{EngineError, Guest, Limits, Program};
use wasmer::{Engine, ExternType, Module, Store};

use crate::run::ModuleProgram;
use crate::{code, host, imports, limits};

/// The global that the counter of fuel adds to a module's exports.
const FUEL: &str = "wasmer_metering_remaining_points";

/// Loads a module. Its machine code is copied out of a mapping of the file.
///
/// # Safety
///
/// As [`trireme_engine::Engine::load`].
pub(crate) unsafe fn module(
    engine: &Engine,
    limits: &Limits,
    code: File,
    entry: &str,
) -> Result<Box<dyn Program>, EngineError> {
    // SAFETY: the caller promises that the file does not change.
    let code = unsafe { code::map(&code) }
        .map_err(|error| EngineError::Precompiled(format!("it cannot be mapped: {error}")))?;
    // SAFETY: the caller vouches for the code.
    let module = unsafe { Module::deserialize(engine, code) }
        .map_err(|error| EngineError::Precompiled(error.to_string()))?;
    check_fuel(limits, &module)?;
    limits::check(limits, &module)?;
    check_entry(&module, entry)?;
    check_imports(engine, &module)?;
    check_kind(&module)?;
    Ok(Box::new(ModuleProgram {
        module,
        engine: engine.clone(),
        entry: entry.into(),
        fuel: limits.fuel.is_some(),
    }))
}

/// Without its counter, code would run on for ever.
fn check_fuel(limits: &Limits, module: &Module) -> Result<(), EngineError> {
    if limits.fuel.is_some() && !module.exports().any(|export| export.name() == FUEL) {
        return Err(EngineError::Precompiled(
            "it counts no fuel; it was compiled without that limit".into(),
        ));
    }
    Ok(())
}

fn check_entry(module: &Module, name: &str) -> Result<(), EngineError> {
    let found = module.exports().find(|export| export.name() == name);
    match found.map(|export| export.ty().clone()) {
        Some(ExternType::Function(ty)) if ty.params().is_empty() => Ok(()),
        Some(ExternType::Function(_)) => Err(EngineError::takes_parameters(name)),
        _ => Err(EngineError::no_function(
            name,
            module
                .exports()
                .functions()
                .map(|export| export.name().to_owned()),
        )),
    }
}

/// Refuses what would need a compiler in the container, and what WASI cannot
/// serve.
fn check_kind(module: &Module) -> Result<(), EngineError> {
    if module.custom_sections("dylink.0").next().is_some() {
        return Err(EngineError::Link(
            "it is dynamically linked; link it statically".into(),
        ));
    }
    let memory = |ty: &ExternType| matches!(ty, ExternType::Memory(_));
    if module.imports().functions().next().is_some()
        && !module.imports().any(|import| memory(import.ty()))
        && !module.exports().any(|export| memory(export.ty()))
    {
        return Err(EngineError::Link(
            "it exports no memory, through which its imports would talk to it".into(),
        ));
    }
    Ok(())
}

/// Resolves the imports against those of a guest that is never run.
fn check_imports(engine: &Engine, module: &Module) -> Result<(), EngineError> {
    let mut store = Store::new(engine.clone());
    let env = host::environment(engine, &mut store, Guest::command(""))
        .map_err(|error| EngineError::Internal(format!("wasmer's WASI cannot be made: {error}")))?;
    imports::provide(&mut store, &env, module).map(drop)
}
