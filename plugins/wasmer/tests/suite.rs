//! The adapter suite on wasmer, through the plugin interface.

use std::process::ExitCode;

fn main() -> ExitCode {
    trireme_plugin::host::testing::suite("libtrireme_wasmer.so", &[])
}
