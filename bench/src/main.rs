//! `trireme-bench`: Trireme and its peers side by side, in one run, on one machine.
//!
//! Absolute times say little about a program and much about the machine, so rounds are
//! interleaved, ratios are taken within a round, and a run whose halves disagree is not reported.

mod config;
mod figure;
mod host;
mod machine;
mod page;
mod peer;
mod report;
mod run;
mod start;
mod stats;
mod text;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "bench/run",
    about = "Benchmarks of Trireme and its peers, side by side",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    Start(start::Start),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().benchmark {
        Benchmark::Start(start) => run::run(&start),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
