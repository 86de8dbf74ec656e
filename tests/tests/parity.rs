//! Trireme's answers in every state of a task, held against those of the runc shim of each
//! containerd: a test host's own shim is asked the same, and every difference has a reason.

#[path = "parity/differences.rs"]
mod differences;
#[path = "parity/runc.rs"]
mod runc;

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use trireme_tests::host::{Instance, Kind, life, one_for_each_containerd};
use trireme_tests::protocol::states::{self, Table};

use differences::{DIFFERENCES, Difference};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trireme-host");
/// What Trireme answers, as its own tests hold it to.
const TABLE: &str = include_str!("../../shim/tests/states.toml");

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, verb, kind] = words.as_slice()
        && verb == "internal-observe"
    {
        return inside(kind);
    }
    let arguments = Arguments::from_args();
    let trials = one_for_each_containerd()
        .map(|kind| {
            let run = move || compare(kind).map_err(|error| Failed::from(format!("{error:#}")));
            Trial::test(kind.name, run)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What runs in the host.
fn inside(kind: &str) -> ExitCode {
    let observed = runc::observe(kind).and_then(|table| Ok(serde_json::to_string(&table)?));
    match observed {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("parity: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A host that goes when the test is over.
struct Host(Instance);

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = life::down(&self.0) {
            eprintln!("parity: {} could not be taken down: {error:#}", self.0);
        }
    }
}

fn compare(kind: &'static Kind) -> Result<()> {
    let ours = states::parse(TABLE)?;
    let theirs = ask_runc(kind)?;
    let mut wrong = Vec::new();
    for (method, states) in &ours {
        for (state, ours) in states {
            let theirs = &theirs[method][state];
            let known = DIFFERENCES
                .iter()
                .find(|known| known.is_of(kind.name, method, *state));
            if let Some(problem) = judge(ours, theirs, known) {
                wrong.push(format!(
                    "{method} in state {state:?}: {problem}\n  Trireme: {ours}\n  runc:    {theirs}"
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn judge(ours: &str, theirs: &str, known: Option<&Difference>) -> Option<String> {
    match known {
        None if ours == theirs => None,
        None => Some("a difference that is not listed".to_owned()),
        Some(_) if ours == theirs => Some("a difference is listed and there is none".to_owned()),
        Some(known) if known.fits(theirs) => None,
        Some(known) => Some(format!(
            "listed as `{}` because {}",
            known.theirs, known.reason
        )),
    }
}

fn ask_runc(kind: &'static Kind) -> Result<Table> {
    let host = Host(Instance::parse(&format!(
        "{}@parity-{}",
        kind.name,
        std::process::id()
    ))?);
    let output = Command::new(PROGRAM)
        .args(["--without-build", host.0.name(), "--"])
        .arg(std::env::current_exe()?)
        .args(["internal-observe", kind.name])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {PROGRAM}"))?;
    ensure!(
        output.status.success(),
        "host {}: {}",
        host.0,
        output.status
    );
    serde_json::from_slice(&output.stdout).context("the table of the runc shim")
}
