//! The adapter suite on the fake engine.

use std::process::ExitCode;

fn main() -> ExitCode {
    trireme_engine::testing::main(&trireme_engine::testing::fake::ADAPTER)
}
