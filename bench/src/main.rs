//! `trireme-bench`: Trireme and its peers side by side, in one run, on one machine.
//!
//! Absolute times say little about a program and much about the machine, so rounds are
//! interleaved, ratios are taken within a round, and a run whose halves disagree in them is not
//! reported.

mod all;
mod bare;
mod cache;
mod cold;
mod command;
mod config;
mod containerd;
mod cpu;
mod ctr;
mod density;
mod figure;
mod grpc;
mod host;
mod image;
mod interrupt;
mod machine;
mod memory;
mod messages;
mod page;
mod peer;
mod pod;
mod report;
mod run;
mod scale;
mod server;
mod settings;
mod sleepers;
mod start;
mod starter;
mod stats;
mod steady;
mod task;
mod text;
mod throughput;

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
    All(all::All),
    Cold(cold::Cold),
    Density(density::Density),
    Pod(pod::Pod),
    PodDensity(density::PodDensity),
    Scale(scale::Scale),
    Server(server::Server),
    Start(start::Start),
    Steady(steady::Steady),
    Throughput(throughput::Throughput),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().benchmark {
        Benchmark::All(all) => all::run(&all),
        Benchmark::Cold(cold) => run::run(&cold),
        Benchmark::Density(density) => run::run(&density),
        Benchmark::Pod(pod) => run::run(&pod),
        Benchmark::PodDensity(density) => run::run(&density),
        Benchmark::Scale(scale) => run::run(&scale),
        Benchmark::Server(server) => run::run(&server),
        Benchmark::Start(start) => run::run(&start),
        Benchmark::Steady(steady) => run::run(&steady),
        Benchmark::Throughput(throughput) => run::run(&throughput),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
