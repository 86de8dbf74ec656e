//! WebAssembly to precompiled code.

use trireme_engine::{EngineError, Kind};
use wasmer::Module;
use wasmer::sys::wasmparser::Parser;

use crate::settings::Compiler;

/// Validates with the very parser and features that the compiler uses.
pub(crate) fn accepts(compiler: &Compiler, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
    check_kind(wasm, kind)?;
    Module::validate(&compiler.engine(), wasm).map_err(|error| rejected(&error))
}

/// Compiles for the engine's configuration and this machine's processor.
pub(crate) fn compile(
    compiler: &Compiler,
    wasm: &[u8],
    kind: Kind,
) -> Result<Vec<u8>, EngineError> {
    check_kind(wasm, kind)?;
    let module = Module::from_binary(&compiler.engine(), wasm).map_err(|error| rejected(&error))?;
    let code = module.serialize().map_err(|error| {
        EngineError::Internal(format!("wasmer cannot write down its code: {error}"))
    })?;
    Ok(code.into())
}

/// Refuses all but modules with a plainer reason than a parser gives.
fn check_kind(wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
    let found = if Parser::is_core_wasm(wasm) {
        Kind::Module
    } else if Parser::is_component(wasm) {
        Kind::Component
    } else {
        return Err(EngineError::Rejected(
            "not WebAssembly: its header is unknown".into(),
        ));
    };
    if found != kind {
        return Err(EngineError::Rejected(format!(
            "a WebAssembly {found}, not a {kind}"
        )));
    }
    if found == Kind::Component {
        return Err(EngineError::Rejected(
            "a component, and wasmer takes modules only; use an engine that takes components, \
             such as wasmtime"
                .into(),
        ));
    }
    Ok(())
}

fn rejected(why: &dyn std::fmt::Display) -> EngineError {
    EngineError::Rejected(format!("not a module that wasmer takes: {why}"))
}
