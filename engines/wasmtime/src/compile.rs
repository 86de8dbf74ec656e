//! WebAssembly to precompiled code.

use trireme_engine::{EngineError, Kind, check_kind};
use wasmtime::Engine;
use wasmtime::wasmparser::{Parser, Payload, Validator, WasmFeatures};

/// Validates with the very parser and features that the compiler uses.
pub(crate) fn accepts(features: WasmFeatures, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
    check_kind(wasm, kind)?;
    Validator::new_with_features(features)
        .validate_all(wasm)
        .map_err(|error| rejected(kind, &error))?;
    check_memories(wasm)
}

/// Compiles for the engine's configuration and this machine's processor.
pub(crate) fn compile(engine: &Engine, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
    check_kind(wasm, kind)?;
    let compiled = match kind {
        Kind::Module => engine.precompile_module(wasm),
        Kind::Component => engine.precompile_component(wasm),
    };
    let code = compiled.map_err(|error| rejected(kind, &format_args!("{error:#}")))?;
    check_memories(wasm)?;
    Ok(code)
}

/// Refuses shared memories, also those of modules within a component: wasmtime
/// makes none by default, and would say so only when the program starts.
fn check_memories(valid: &[u8]) -> Result<(), EngineError> {
    for payload in Parser::new(0).parse_all(valid) {
        let Ok(Payload::MemorySection(memories)) = payload else {
            continue;
        };
        if memories.into_iter().flatten().any(|memory| memory.shared) {
            return Err(EngineError::Rejected(
                "it has a shared memory, which wasmtime does not offer".into(),
            ));
        }
    }
    Ok(())
}

fn rejected(kind: Kind, why: &dyn std::fmt::Display) -> EngineError {
    EngineError::Rejected(format!("not a {kind} that wasmtime takes: {why}"))
}
