//! `trireme`, the command line: runs and compiles programs outside any
//! container, shows engines and the cache, builds images.
//!
//! It links no engine. Whatever needs one is done by `trireme-executor`, which
//! it execs.

mod cache;
mod compile;
mod engines;
mod executor;
mod image;
mod output;
mod run;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use trireme_core::message;

/// The exit code for a failure of Trireme itself, as Docker has it: a guest's
/// own exit code stays apart from it in all but one value.
const FAILED: u8 = 125;

/// Runs WebAssembly in containers, and outside them to try it.
#[derive(Parser)]
#[command(name = "trireme", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program here, outside any container
    Run(run::Run),
    /// List the engines there are, and why one is not there
    Engines(engines::Engines),
    /// Compile programs ahead of time into the cache
    Compile(compile::Compile),
    /// Look after the cache of precompiled code
    #[command(subcommand)]
    Cache(cache::Cache),
    /// Build images
    #[command(subcommand)]
    Image(image::Image),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let done = match arguments.command {
        Command::Run(run) => run.execute(),
        Command::Engines(engines) => engines.execute(),
        Command::Compile(compile) => compile.execute(),
        Command::Cache(cache) => cache.execute(),
        Command::Image(image) => image.execute(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trireme: {}", message::of(error.as_ref()));
            ExitCode::from(FAILED)
        }
    }
}

/// Prints help, the version or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when this cannot be printed.
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(FAILED),
        false => ExitCode::SUCCESS,
    }
}
