//! The adapter suite on WasmEdge, through the plugin interface.

use std::process::ExitCode;

fn main() -> ExitCode {
    trireme_plugin::host::testing::suite("libtrireme_wasmedge.so", &[])
}
