//! Start to end: `ctr run --rm`, in a test host, peer after peer, round after round.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::config::{Configs, PeerConfig};
use crate::peer::{self, NULL, Peer, RUNC};
use crate::stats::{drift, median, quantile, ratio};

/// The largest difference between the halves of a run that is still reported.
const STEADY: f64 = 0.10;

/// What to measure.
#[derive(Debug, Args)]
pub struct Options {
    /// The test host to run in.
    #[arg(long, default_value = "containerd-2.3")]
    host: String,
    /// Rounds that count; each starts every peer once.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(4..))]
    rounds: u32,
    /// Rounds before them that do not count.
    #[arg(long, default_value_t = 3)]
    warm_up: u32,
    /// NAME=RUNTIME[,IMAGE[,ARGUMENT…]]; may be repeated. Without: null, runc, per-pod, per-node.
    #[arg(long = "peer")]
    peers: Vec<Peer>,
    /// NAME=FILE: the configuration of Trireme that the peer NAME is started with; the others have
    /// the host's own.
    #[arg(long = "config")]
    configs: Vec<PeerConfig>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Set where the program already runs in the host.
    #[arg(long, hide = true)]
    inside: bool,
}

/// Measures in the host, where the program runs itself a second time: entering the host is not
/// part of what is measured.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.inside {
        return measure(options);
    }
    let status = Command::new(host_script())
        .args([&options.host, "--"])
        .arg(std::env::current_exe().context("find this program")?)
        .args(std::env::args_os().skip(1))
        .arg("--inside")
        .status()
        .context("run tests/host")?;
    Ok(ExitCode::from(status.code().unwrap_or(1) as u8))
}

fn host_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/host")
}

fn measure(options: &Options) -> Result<ExitCode> {
    let peers = match options.peers.is_empty() {
        true => peer::defaults(),
        false => options.peers.clone(),
    };
    let configs = Configs::of(&peers, &options.configs)?;
    let times = all_rounds(options, &peers, &configs);
    configs.restore()?;
    let times = times?;
    if let Some((peer, drift)) = unsteady(&peers, &times) {
        eprintln!(
            "bench: no report: the two halves of the run differ by {:.0} % for {} (more than {:.0} %); \
             the machine was not quiet, run it again",
            drift * 100.0,
            peer.name,
            STEADY * 100.0
        );
        return Ok(ExitCode::from(3));
    }
    report(&rows(&peers, &times), options.json)?;
    Ok(ExitCode::SUCCESS)
}

/// The milliseconds of every start that counts, for each peer.
fn all_rounds(options: &Options, peers: &[Peer], configs: &Configs) -> Result<Vec<Vec<f64>>> {
    for _ in 0..options.warm_up {
        for (index, peer) in peers.iter().enumerate() {
            configs.set(index)?;
            start_once(peer)?;
        }
    }
    let mut times = vec![Vec::new(); peers.len()];
    for round in 0..options.rounds as usize {
        // Every round begins with another peer, so that none always follows the same one.
        for place in 0..peers.len() {
            let index = (round + place) % peers.len();
            configs.set(index)?;
            times[index].push(start_once(&peers[index])?);
        }
    }
    Ok(times)
}

/// Runs one container to its end and returns the milliseconds that it took.
fn start_once(peer: &Peer) -> Result<f64> {
    let mut command = Command::new("ctr");
    command
        .args([
            "run",
            "--rm",
            "--runtime",
            &peer.runtime,
            &peer.image,
            "bench",
        ])
        .args(&peer.arguments)
        .stdin(Stdio::null());
    let begin = Instant::now();
    let output = command.output().context("run ctr")?;
    let time = begin.elapsed();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let _ = Command::new("ctr")
            .args(["task", "delete", "--force", "bench"])
            .output();
        let _ = Command::new("ctr")
            .args(["container", "delete", "bench"])
            .output();
        bail!(
            "{} ({}) failed, {}: {}",
            peer.name,
            peer.runtime,
            output.status,
            text.trim()
        );
    }
    Ok(time.as_secs_f64() * 1e3)
}

fn unsteady<'a>(peers: &'a [Peer], times: &[Vec<f64>]) -> Option<(&'a Peer, f64)> {
    peers
        .iter()
        .zip(times.iter().map(|times| drift(times)))
        .filter(|(_, drift)| *drift > STEADY)
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// One peer's line of the report. Times in milliseconds.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    peer: &'a Peer,
    rounds: usize,
    median_ms: f64,
    p95_ms: f64,
    /// The median of the rounds' ratios to the null shim, where it was run.
    to_null: Option<f64>,
    /// The same to runc.
    to_runc: Option<f64>,
}

fn rows<'a>(peers: &'a [Peer], times: &[Vec<f64>]) -> Vec<Row<'a>> {
    let named = |name: &str| {
        let index = peers.iter().position(|peer| peer.name == name)?;
        Some(times[index].as_slice())
    };
    let row = |(peer, times): (&'a Peer, &Vec<f64>)| Row {
        peer,
        rounds: times.len(),
        median_ms: median(times),
        p95_ms: quantile(times, 0.95),
        to_null: named(NULL).map(|null| ratio(times, null)),
        to_runc: named(RUNC).map(|runc| ratio(times, runc)),
    };
    peers.iter().zip(times).map(row).collect()
}

fn report(rows: &[Row<'_>], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    let ratio = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    println!(
        "{:<16} {:>10} {:>10} {:>8} {:>8}",
        "peer", "median ms", "p95 ms", "× null", "× runc"
    );
    for row in rows {
        println!(
            "{:<16} {:>10.1} {:>10.1} {:>8} {:>8}",
            row.peer.name,
            row.median_ms,
            row.p95_ms,
            ratio(row.to_null),
            ratio(row.to_runc)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_halves_differ_is_not_reported() {
        let peers = peer::defaults();
        let steady = vec![10.0, 10.1, 10.0, 10.2];
        let mut times = vec![steady; peers.len()];
        assert!(unsteady(&peers, &times).is_none());
        times[1] = vec![10.0, 10.0, 12.0, 12.0];
        assert_eq!(unsteady(&peers, &times).unwrap().0.name, RUNC);
    }

    #[test]
    fn a_ratio_without_its_peer_is_left_out() {
        let peers = ["mine=io.containerd.x.v1".parse().unwrap()];
        let times = [vec![1.0, 1.0]];
        assert!(rows(&peers, &times)[0].to_null.is_none());
    }
}
