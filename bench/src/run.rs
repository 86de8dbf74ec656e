//! One run of a benchmark: it enters the test host, measures there, and reports outside.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cache;
use crate::config::{Configs, PeerConfig};
use crate::containerd::{Daemon, Handler, Stopped};
use crate::host;
use crate::interrupt;
use crate::machine;
use crate::page;
use crate::peer::{self, Peer};
use crate::report::{QUIET, Refusal, Report, STEADY};
use crate::text;

/// The exit code of a run without a report, since the machine was not quiet.
const NOT_QUIET: u8 = 3;
/// Says to a run in the host what the host is called outside.
const INSIDE: &str = "--inside";

/// What every benchmark can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The test host to run in; each benchmark has its own default.
    #[arg(long)]
    pub host: Option<String>,
    /// Rounds that count; each measures every peer once.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Rounds before them that do not count.
    #[arg(long)]
    pub warm_up: Option<u32>,
    /// The fewest rounds that show that the benchmark works: what it reports is checked, and no
    /// time is judged.
    #[arg(long)]
    pub quick: bool,
    /// Measures only the peers with these names, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub only: Vec<String>,
    /// NAME=RUNTIME[,IMAGE[,ARGUMENT…]]: one more peer; may be repeated. In pods it runs what the
    /// others do.
    #[arg(long = "peer")]
    pub peers: Vec<Peer>,
    /// NAME=FILE: the configuration of Trireme that the peer NAME is started with; the others have
    /// the host's own.
    #[arg(long = "config")]
    pub configs: Vec<PeerConfig>,
    /// Prints JSON instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Set where the program already runs in the host.
    #[arg(long, hide = true)]
    pub inside: bool,
}

/// A benchmark.
pub trait Benchmark {
    /// Its name, that of its subcommand too.
    const NAME: &'static str;
    /// The host that it runs in unless it is told another.
    const HOST: &'static str;
    /// Rounds of a whole run.
    const ROUNDS: u32;
    /// Rounds of a quick one.
    const QUICK: u32 = 2;
    /// Rounds that do not count, of a whole run.
    const WARM_UP: u32 = 3;
    /// The handlers that CRI is to know.
    const HANDLERS: &[Handler<'static>] = &[];

    /// What it was told.
    fn options(&self) -> &Options;

    /// The peers that it measures unless it is told others.
    fn peers(&self) -> Vec<Peer> {
        peer::all()
    }

    /// Why it cannot measure a peer, where it cannot; asked in the host.
    fn lacks(&self, _peer: &Peer) -> Option<String> {
        None
    }

    /// Measures, in the host, and adds figures and curves to the report.
    ///
    /// # Errors
    ///
    /// When a peer fails; nothing of it may be left then.
    fn measure(&self, run: &Run, report: &mut Report) -> Result<()>;
}

/// What a benchmark measures with, in the host.
pub struct Run {
    /// The peers that are there.
    pub peers: Vec<Peer>,
    /// Rounds that count.
    pub rounds: u32,
    /// Rounds before them.
    pub warm_up: u32,
    /// Whether the run only shows that the benchmark works.
    pub quick: bool,
    configs: Configs,
}

/// One peer's turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The index of the peer.
    pub index: usize,
    /// The peer.
    pub peer: &'a Peer,
    /// The round that counts; `None` for warming up.
    pub round: Option<u32>,
}

impl Run {
    /// Gives every peer its turn in every round, with its configuration in place. Every round
    /// begins with another peer, and every second one goes backwards, so that none always follows
    /// the same one.
    ///
    /// # Errors
    ///
    /// The first of a turn, or when a configuration cannot be put in place.
    pub fn turns(&self, mut turn: impl FnMut(Turn<'_>) -> Result<()>) -> Result<()> {
        let warm_up = (0..self.warm_up).map(|_| None);
        for round in warm_up.chain((0..self.rounds).map(Some)) {
            for place in 0..self.peers.len() {
                interrupt::check()?;
                let round_index = round.unwrap_or(0) as usize;
                let place = match round_index % 2 {
                    0 => place,
                    _ => self.peers.len() - 1 - place,
                };
                let index = (round_index + place) % self.peers.len();
                self.configs.set(index)?;
                let peer = &self.peers[index];
                turn(Turn { index, peer, round }).with_context(|| peer.name.clone())?;
            }
        }
        Ok(())
    }
}

/// Runs a benchmark.
///
/// # Errors
///
/// When the host cannot be entered, when a peer fails, or when the report is not sound.
pub fn run(benchmark: &impl Benchmark) -> Result<ExitCode> {
    interrupt::watch()?;
    match benchmark.options().inside {
        true => inside(benchmark).map(|()| ExitCode::SUCCESS),
        false => outside(benchmark),
    }
}

/// Enters the host, where the program runs itself a second time: entering it is no part of what is
/// measured.
fn outside<B: Benchmark>(benchmark: &B) -> Result<ExitCode> {
    let options = benchmark.options();
    let host = options.host.as_deref().unwrap_or(B::HOST);
    host::install_wasmedge(host)?;
    let stopped = Stopped::in_host(host)?;
    let program = std::env::current_exe().context("find this program")?;
    let words = std::env::args_os().skip(1).chain([OsString::from(INSIDE)]);
    let mut command = Command::new(host_script());
    command
        .args([host, "--"])
        .arg(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let output = interrupt::run(&mut command)?;
    drop(stopped);
    if !output.status.success() {
        return Ok(ExitCode::from(output.status.code().unwrap_or(1) as u8));
    }
    let mut report: Report =
        serde_json::from_slice(&output.stdout).context("read the report from the host")?;
    host.clone_into(&mut report.host);
    report.versions.insert("trireme".to_owned(), commit());
    report.check()?;
    let refusals = report.refusals();
    if !report.quick && !refusals.is_empty() {
        let refusals: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
        eprintln!(
            "bench: no report: the halves of the run differ by more than {:.0} % in ratios, or {:.0} % in values, \
             and by more than chance; the machine was not quiet, run it again: {}",
            STEADY * 100.0,
            QUIET * 100.0,
            refusals.join("; ")
        );
        return Ok(ExitCode::from(NOT_QUIET));
    }
    publish(&report, options.json)?;
    Ok(ExitCode::SUCCESS)
}

fn publish(report: &Report, json: bool) -> Result<()> {
    let pretty = serde_json::to_string_pretty(report)?;
    match json {
        true => println!("{pretty}"),
        false => print!("{}", text::report(report)),
    }
    let folder = cache::reports(report.quick)?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = folder.join(format!("{}.json", report.file_stem()));
    fs::write(&file, pretty).with_context(|| format!("write {}", file.display()))?;
    let page = page::collect(&folder)?;
    eprintln!("bench: {} and {}", file.display(), page.display());
    Ok(())
}

/// The script that brings hosts up and enters them.
pub fn host_script() -> PathBuf {
    checkout().join("tests/host")
}

/// The root of the checkout that `bench/run` says it is in: programs of two checkouts may share a
/// target folder, and cargo does not tell them apart. Without it, the one that this was built from.
pub fn checkout() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.join("..")
}

/// The commit of the checkout, and whether it was changed since.
fn commit() -> String {
    let folder = checkout();
    let folder = folder.to_string_lossy();
    let git = |words: &[&str]| machine::output("git", &[&["-C", &folder], words].concat());
    match git(&["rev-parse", "--short=12", "HEAD"]) {
        None => "unknown".to_owned(),
        Some(hash) => match git(&["status", "--porcelain", "--untracked-files=no"]) {
            Some(changes) if changes.is_empty() => hash,
            _ => format!("{hash} with changes"),
        },
    }
}

/// Measures and prints the report in JSON.
fn inside<B: Benchmark>(benchmark: &B) -> Result<()> {
    let options = benchmark.options();
    let mut report = Report::begin(B::NAME)?;
    let added: Vec<_> = options.peers.iter().enumerate().map(add_handler).collect();
    let wanted = wanted(benchmark.peers(), &added, &options.only)?;
    let mut handlers = B::HANDLERS.to_vec();
    if !handlers.is_empty() {
        handlers.extend(added.iter().filter_map(|peer| {
            let handler = peer.cri_handler.as_deref()?;
            Some((handler, peer.runtime.as_str(), false))
        }));
    }
    let daemon = Daemon::start(&handlers)?;
    let place = host::Place::set_up(&wanted, options.quick)?;
    report.versions = machine::versions();
    let mut peers = Vec::new();
    for peer in wanted {
        match place.lacks(&peer).or_else(|| benchmark.lacks(&peer)) {
            None => peers.push(peer),
            Some(reason) if added.contains(&peer) => {
                bail!("--peer {}: {reason}", peer.name)
            }
            Some(reason) => report.left_out.push(peer::LeftOut {
                peer: peer.name,
                reason,
            }),
        }
    }
    ensure!(!peers.is_empty(), "no peer is there: {:?}", report.left_out);
    if options.quick {
        let missing = report.left_out.iter().find(|left| !left.may_be_missing());
        ensure!(
            missing.is_none(),
            "a peer that every host has is not there: {missing:?}"
        );
    }
    for config in &options.configs {
        report.notes.push(config.to_string());
    }
    let run = Run {
        configs: Configs::of(&peers, &options.configs)?,
        rounds: options
            .rounds
            .unwrap_or(if options.quick { B::QUICK } else { B::ROUNDS }),
        warm_up: options
            .warm_up
            .unwrap_or(if options.quick { 0 } else { B::WARM_UP }),
        quick: options.quick,
        peers,
    };
    report.peers.clone_from(&run.peers);
    (report.rounds, report.warm_up) = (run.rounds, run.warm_up);
    report.quick = run.quick;
    report.chosen =
        !(options.only.is_empty() && options.peers.is_empty() && options.configs.is_empty());
    let measured = benchmark.measure(&run, &mut report);
    let restored = run.configs.restore();
    drop(place);
    drop(daemon);
    measured.and(restored)?;
    report.end()?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// Gives a peer that was added a handler that no configuration has.
fn add_handler((number, peer): (usize, &Peer)) -> Peer {
    peer.clone().handled(&format!("bench-peer-{number}"))
}

/// The benchmark's own peers and those that were added, or those of them that were named.
fn wanted(own: Vec<Peer>, added: &[Peer], only: &[String]) -> Result<Vec<Peer>> {
    let mut peers: Vec<_> = own
        .into_iter()
        .filter(|peer| added.iter().all(|added| added.name != peer.name))
        .collect();
    peers.extend_from_slice(added);
    for name in only {
        let known = peers.iter().any(|peer| peer.name == *name);
        ensure!(known, "--only {name}: there is no such peer");
    }
    peers.retain(|peer| only.is_empty() || only.contains(&peer.name));
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_added_replaces_the_one_of_its_name() {
        let added: Peer = "runc=io.containerd.x.v1".parse().unwrap();
        let peers = wanted(peer::all(), std::slice::from_ref(&added), &[]).unwrap();
        assert_eq!(peers.iter().filter(|peer| peer.name == "runc").count(), 1);
        assert!(peers.contains(&added));
        let only = ["null".to_owned(), "runc".to_owned()];
        assert_eq!(wanted(peer::all(), &[], &only).unwrap().len(), 2);
        assert!(wanted(peer::all(), &[], &["nobody".to_owned()]).is_err());
    }
}
