//! The adapter suite on the fake engine, through the plugin interface: what the
//! interface adds or loses shows here.

use std::process::ExitCode;

fn main() -> ExitCode {
    trireme_plugin::host::testing::suite("../examples/libfake.so", &[])
}
