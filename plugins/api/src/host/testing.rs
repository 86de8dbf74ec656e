//! The adapter suite on a plugin.

use std::process::ExitCode;

use trireme_engine::testing::{self, KnownFailure};

/// Runs the adapter suite on a plugin that cargo has built for this test
/// program, by the name of its file. The first thing that `main` does, as
/// [`trireme_engine::testing::main`] says.
pub fn suite(file: &str, known: &'static [KnownFailure]) -> ExitCode {
    let opened = std::env::current_exe()
        .map(|program| program.with_file_name(file))
        .map_err(|error| error.to_string())
        .and_then(|file| super::open(&file).map_err(|error| error.to_string()));
    match opened {
        Ok(adapter) => testing::main_except(adapter, known),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
