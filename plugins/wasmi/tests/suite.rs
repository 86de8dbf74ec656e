//! The adapter suite on wasmi, through the plugin interface.

use std::process::ExitCode;

use trireme_engine::testing::KnownFailure;

const KNOWN: &[KnownFailure] = &[(
    "a_trap_names_its_function",
    "wasmi 2.0 has no backtraces: `wasmi::Error` is a trap code alone",
)];

fn main() -> ExitCode {
    trireme_plugin::host::testing::suite("libtrireme_wasmi.so", KNOWN)
}
