//! The adapter suite on wasmer.

use std::process::ExitCode;

fn main() -> ExitCode {
    trireme_engine::testing::main(&trireme_engine_wasmer::ADAPTER)
}
