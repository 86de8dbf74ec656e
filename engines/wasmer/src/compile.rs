//! WebAssembly to precompiled code.

use trireme_engine::{EngineError, Kind, check_module};
use wasmer::Module;

use crate::settings::Compiler;

/// Validates with the very parser and features that the compiler uses.
pub(crate) fn accepts(compiler: &Compiler, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
    check_module("wasmer", wasm, kind)?;
    Module::validate(&compiler.engine(), wasm).map_err(|error| rejected(&error))
}

/// Compiles for the engine's configuration and this machine's processor.
pub(crate) fn compile(
    compiler: &Compiler,
    wasm: &[u8],
    kind: Kind,
) -> Result<Vec<u8>, EngineError> {
    check_module("wasmer", wasm, kind)?;
    let module = Module::from_binary(&compiler.engine(), wasm).map_err(|error| rejected(&error))?;
    let code = module.serialize().map_err(|error| {
        EngineError::Internal(format!("wasmer cannot write down its code: {error}"))
    })?;
    Ok(code.into())
}

fn rejected(why: &dyn std::fmt::Display) -> EngineError {
    EngineError::Rejected(format!("not a module that wasmer takes: {why}"))
}
