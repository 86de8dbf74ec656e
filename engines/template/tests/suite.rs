//! The adapter suite on this engine.

use std::process::ExitCode;

fn main() -> ExitCode {
    trireme_engine::testing::main(&trireme_engine_template::ADAPTER)
}
