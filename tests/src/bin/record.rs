//! `trireme-record`: writes down what a containerd and a shim say to each other.
//!
//! As `containerd-shim-record-v1` it is the shim's program for containerd; as `trireme-record
//! SHIM FOLDER NAME` it is the process that writes. `tests/record` runs both in a test host.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use trireme_tests::protocol::recorder::{Recorder, wrapper};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(error) => {
            eprintln!("record: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<i32> {
    let words: Vec<String> = std::env::args().collect();
    let [program, args @ ..] = words.as_slice() else {
        bail!("run without a name");
    };
    if program.contains("containerd-shim-") {
        return wrapper::run(args);
    }
    let [shim, folder, name] = args else {
        bail!("usage: trireme-record SHIM FOLDER NAME");
    };
    Recorder::run(shim, Path::new(folder), name)?;
    Ok(0)
}
