//! `containerd-shim-<handler>-v1`: what containerd runs to start and to clean
//! up after a task.

use std::process::ExitCode;

use trireme_core::message;
use trireme_shim::args::{Args, Verb};
use trireme_shim::{delete, info, start};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => return fail(&error.into()),
    };
    let result = match args.verb {
        Verb::Start => start::run(&args),
        Verb::Delete => delete::run(&args),
        Verb::Info => info::print().map_err(Into::into),
        Verb::Version => {
            println!("containerd-shim-trireme-v1 {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// containerd shows its user what is on standard error.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("trireme: {}", message::of(error.as_ref()));
    ExitCode::FAILURE
}
