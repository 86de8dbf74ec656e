//! The adapter suite on wasmtime.

use std::process::ExitCode;

fn main() -> ExitCode {
    trireme_engine::testing::main(&trireme_engine_wasmtime::ADAPTER)
}
