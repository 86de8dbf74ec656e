//! The adapter suite on wasmi, through the plugin interface.

use std::process::ExitCode;

use trireme_engine::testing::KnownFailure;

const KNOWN: &[KnownFailure] = &[
    (
        "a_trap_names_its_function",
        "wasmi 2.0 has no backtraces: `wasmi::Error` is a trap code alone",
    ),
    (
        "a_read_only_directory_is_read_and_not_written",
        "wasi-common 36 has no rights, and a file that is open for reading can be given other \
         times; `run` refuses such a guest",
    ),
];

fn main() -> ExitCode {
    trireme_plugin::host::testing::suite("libtrireme_wasmi.so", KNOWN)
}
