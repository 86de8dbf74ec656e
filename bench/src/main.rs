//! `trireme-bench`: Trireme and its peers side by side, in one run, on one machine.
//!
//! Absolute times say little about a program and much about the machine, so rounds are
//! interleaved, ratios are taken within a round, and a run whose halves disagree is not reported.

mod config;
mod peer;
mod start;
mod stats;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "bench/run",
    about = "Benchmarks of Trireme and its peers, side by side"
)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// How long `ctr run --rm` takes, from its start to its end.
    Start(start::Options),
}

fn main() -> ExitCode {
    let Benchmark::Start(options) = Arguments::parse().benchmark;
    match start::run(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
