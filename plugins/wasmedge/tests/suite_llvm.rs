//! The adapter suite on WasmEdge with native code, through the plugin interface.

use std::process::ExitCode;

fn main() -> ExitCode {
    let known = &[(
        "a_trap_names_its_function",
        "native code logs no place of a trap",
    )];
    trireme_plugin::host::testing::suite_with(
        "libtrireme_wasmedge.so",
        &[("compiler", "llvm")],
        known,
    )
}
