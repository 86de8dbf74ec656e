//! Native code, made by LLVM: the module with a section more, which WasmEdge's
//! loader takes from memory like any module.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use trireme_engine::EngineError;

use crate::compile::lend;
use crate::error;
use crate::ffi::{self, Compiler, Configure};
use crate::owned::Owned;

/// Whether this libwasmedge has a compiler.
pub(crate) fn check(configure: &Owned<Configure>) -> Result<(), EngineError> {
    compiler(configure).map(drop).map_err(|_| {
        EngineError::Settings(
            "compiler = \"llvm\": the libwasmedge of this machine was built without LLVM; install \
             one that was built with it, or set compiler = \"interpreter\""
                .into(),
        )
    })
}

/// A module with its native code.
///
/// WasmEdge writes its result, and objects beside it, by path: here into a
/// folder for temporary files that is this call's alone.
pub(crate) fn compile(configure: &Owned<Configure>, wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
    let failed =
        |error: &dyn std::fmt::Display| EngineError::Internal(format!("native code: {error}"));
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    let file = folder.path().join("native.wasm");
    let to = CString::new(file.as_os_str().as_bytes()).map_err(|error| failed(&error))?;
    let compiler = compiler(configure)?;
    let bytes = lend(wasm)?;
    // SAFETY: all objects live through the call.
    let compiled =
        unsafe { ffi::WasmEdge_CompilerCompileFromBytes(compiler.get(), bytes, to.as_ptr()) };
    error::check(compiled).map_err(|failure| failure.rejected())?;
    std::fs::read(&file).map_err(|error| failed(&error))
}

/// WasmEdge's compiler, which it does not make where it was built without LLVM.
fn compiler(configure: &Owned<Configure>) -> Result<Owned<Compiler>, EngineError> {
    // SAFETY: the compiler is made here, and ours.
    unsafe {
        Owned::new(
            ffi::WasmEdge_CompilerCreate(configure.get()),
            ffi::WasmEdge_CompilerDelete,
            "compiler",
        )
    }
}
