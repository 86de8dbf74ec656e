//! All benchmarks, each in a process of its own.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cache;
use crate::interrupt;
use crate::run::host_script;

/// Every benchmark, with the hosts that it runs in unless it is told one.
const ALL: &[(&str, &[&str])] = &[
    ("start", &["containerd-2.3", "trixie", "forky"]),
    ("throughput", &["containerd-2.3"]),
    ("pod", &["forky-2.3"]),
    ("server", &["forky-2.3"]),
    ("density", &["containerd-2.3"]),
    ("pod-density", &["forky-2.3"]),
    ("scale", &["containerd-2.3"]),
    ("cold", &["containerd-2.3"]),
    ("steady", &["containerd-2.3"]),
];

/// Those of a quick run, which takes a minute. The others drop the machine's caches, or compile
/// for a while; each can be told to be quick by itself.
const QUICK: &[&str] = &["start", "throughput", "pod", "server"];

/// All benchmarks, whose reports make one page.
#[derive(Debug, Args)]
pub struct All {
    /// The host that all run in; each has its own defaults.
    #[arg(long)]
    host: Option<String>,
    /// Rounds that count; each benchmark has its own default.
    #[arg(long)]
    rounds: Option<u32>,
    /// The fewest rounds that show that the benchmarks work, of the shorter ones.
    #[arg(long)]
    quick: bool,
    /// Takes the host down behind them.
    #[arg(long, requires = "host")]
    down: bool,
}

/// Runs them one after another; those behind one that fails are run too.
///
/// # Errors
///
/// When this program cannot run itself, or when it was interrupted.
pub fn run(all: &All) -> Result<ExitCode> {
    interrupt::watch()?;
    let failed = run_each(all);
    if all.down
        && let Some(host) = &all.host
    {
        let status = Command::new(host_script()).args([host, "--down"]).status();
        let status = status.context("run tests/host")?;
        ensure!(status.success(), "tests/host {host} --down failed");
    }
    let failed = failed?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("bench: without a report: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Returns those that failed.
fn run_each(all: &All) -> Result<Vec<String>> {
    if all.quick {
        // What is checked is of this run alone.
        match fs::remove_dir_all(cache::reports(true)?) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context("remove the reports of quick runs");
            }
            _ => {}
        }
    }
    let mut failed = Vec::new();
    for (name, hosts) in ALL {
        if all.quick && !QUICK.contains(name) {
            continue;
        }
        let told = all.host.as_deref().map(|host| vec![host]);
        for host in told.unwrap_or_else(|| hosts.to_vec()) {
            eprintln!("bench: {name} on {host}");
            if !run_one(all, name, host)? {
                failed.push(format!("{name} on {host}"));
            }
            interrupt::check()?;
            println!();
        }
    }
    Ok(failed)
}

fn run_one(all: &All, name: &str, host: &str) -> Result<bool> {
    let mut words: Vec<OsString> = [name, "--host", host].map(OsString::from).into();
    if let Some(rounds) = all.rounds {
        words.extend(["--rounds".into(), rounds.to_string().into()]);
    }
    words.extend(all.quick.then(|| "--quick".into()));
    let program = std::env::current_exe().context("find this program")?;
    let output = interrupt::run(Command::new(program).args(&words))?;
    Ok(output.status.success())
}
