//! WebAssembly to precompiled code, or to what stands in for it.

use trireme_engine::{EngineError, Kind, check_module};

use crate::ffi::{self, AstModule, Configure};
use crate::owned::Owned;
use crate::{code, error, gate, module, native};

/// Validates with WasmEdge's own loader and validator.
pub(crate) fn accepts(
    configure: &Owned<Configure>,
    wasm: &[u8],
    kind: Kind,
) -> Result<(), EngineError> {
    let wasm = plain(wasm, kind)?;
    parse(configure, &wasm).map(drop)
}

pub(crate) fn compile(
    configure: &Owned<Configure>,
    is_native: bool,
    wasm: &[u8],
    kind: Kind,
) -> Result<Vec<u8>, EngineError> {
    let wasm = plain(wasm, kind)?;
    parse(configure, &wasm)?;
    if !is_native {
        return Ok(code::pack(&wasm, &[]));
    }
    let native = native::compile(configure, &wasm)?;
    Ok(code::pack(
        &native,
        &native::compile(configure, gate::MODULE)?,
    ))
}

/// A module as WasmEdge has read and validated it.
pub(crate) fn parse(
    configure: &Owned<Configure>,
    wasm: &[u8],
) -> Result<Owned<AstModule>, EngineError> {
    let bytes = lend(wasm)?;
    // SAFETY: all objects are made here, and the bytes outlive the calls.
    unsafe {
        let loader = Owned::new(
            ffi::WasmEdge_LoaderCreate(configure.get()),
            ffi::WasmEdge_LoaderDelete,
            "loader",
        )?;
        let mut module = std::ptr::null_mut();
        let parsed = ffi::WasmEdge_LoaderParseFromBytes(loader.get(), &raw mut module, bytes);
        error::check(parsed).map_err(|failure| failure.rejected())?;
        let module = Owned::new(module, ffi::WasmEdge_ASTModuleDelete, "module")?;
        let validator = Owned::new(
            ffi::WasmEdge_ValidatorCreate(configure.get()),
            ffi::WasmEdge_ValidatorDelete,
            "validator",
        )?;
        let valid = ffi::WasmEdge_ValidatorValidate(validator.get(), module.get());
        error::check(valid).map_err(|failure| failure.rejected())?;
        Ok(module)
    }
}

/// Bytes as WasmEdge takes them, while they are there.
pub(crate) fn lend(wasm: &[u8]) -> Result<ffi::Bytes, EngineError> {
    let length = u32::try_from(wasm.len())
        .map_err(|_| EngineError::Rejected("a module of 4 GiB or more".into()))?;
    Ok(ffi::Bytes {
        length,
        data: wasm.as_ptr(),
    })
}

/// The module alone, where it is one.
fn plain(wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
    check_module("WasmEdge", wasm, kind)?;
    let rejected =
        |why: &str| EngineError::Rejected(format!("not a module that WasmEdge takes: {why}"));
    module::without_native_code(wasm)
        .map_err(|error| rejected(&error.to_string()))?
        .ok_or_else(|| rejected("unexpected end"))
}
