//! WebAssembly to precompiled code.

use trireme_engine::{EngineError, Kind};
use wasmtime::Engine;
use wasmtime::wasmparser::{Parser, Validator, WasmFeatures};

/// Validates with the very parser and features that the compiler uses.
pub(crate) fn accepts(features: WasmFeatures, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
    check_kind(wasm, kind)?;
    Validator::new_with_features(features)
        .validate_all(wasm)
        .map(drop)
        .map_err(|error| rejected(kind, &error))
}

/// Compiles for the engine's configuration and this machine's processor.
pub(crate) fn compile(engine: &Engine, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
    check_kind(wasm, kind)?;
    let compiled = match kind {
        Kind::Module => engine.precompile_module(wasm),
        Kind::Component => engine.precompile_component(wasm),
    };
    compiled.map_err(|error| rejected(kind, &format_args!("{error:#}")))
}

/// Refuses bytes of the other kind with a plainer reason than a parser gives.
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
    if found == kind {
        return Ok(());
    }
    Err(EngineError::Rejected(format!(
        "a WebAssembly {found}, not a {kind}"
    )))
}

fn rejected(kind: Kind, why: &dyn std::fmt::Display) -> EngineError {
    EngineError::Rejected(format!("not a {kind} that wasmtime takes: {why}"))
}
