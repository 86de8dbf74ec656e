//! `tests/host`: runs commands in a test host.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use rustix::process::Signal;
use trireme_tests::host::daemon::{Daemon, Status};
use trireme_tests::host::life::{self, Build};
use trireme_tests::host::{Instance, KINDS, emulated, enter, namespace};
use trireme_tests::leaks::Snapshot;

/// Runs COMMAND in a test host that has this build installed and its daemons running.
///
/// The host comes up at the first call and stays up until --down. Stdin, stdout, stderr, the
/// terminal and the exit code are the command's own.
#[derive(Parser)]
#[command(name = "tests/host", max_term_width = 100)]
struct Arguments {
    /// The host: a kind (see --list), or KIND@SUFFIX for a private instance of it.
    name: Option<String>,
    /// Lists the kinds of hosts, and the hosts that are up.
    #[arg(long, exclusive = true)]
    list: bool,
    /// Gets what hosts are made of: packages, the roots of releases, the programs of tests/tools.
    #[arg(long, exclusive = true)]
    prepare: bool,
    /// Ends the host and all that runs in it, and removes its files.
    #[arg(long, group = "action")]
    down: bool,
    /// Tells what runs; exits with 1 if the host is not up.
    #[arg(long, group = "action")]
    status: bool,
    /// Ends containerd with a signal (KILL, TERM, …) and starts it again over the same state.
    #[arg(long, group = "action", value_name = "SIGNAL", num_args = 0..=1, default_missing_value = "KILL")]
    restart_containerd: Option<String>,
    /// Ends containerd with a signal and keeps it down.
    #[arg(long, group = "action", value_name = "SIGNAL", num_args = 0..=1, default_missing_value = "KILL")]
    stop_containerd: Option<String>,
    /// Starts containerd after --stop-containerd.
    #[arg(long, group = "action")]
    start_containerd: bool,
    /// Comes up without a build of Trireme, for work on the hosts themselves.
    #[arg(long)]
    without_build: bool,
    /// The command.
    #[arg(trailing_var_arg = true, conflicts_with = "action")]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.first().map(String::as_str) {
        Some(word) if word.starts_with("internal-") => internal(word, &words[1..]),
        _ => act(&Arguments::parse()),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("host: {error:#}");
            ExitCode::from(125)
        }
    }
}

/// The processes that a host is made of; see the library.
fn internal(word: &str, rest: &[String]) -> Result<u8> {
    match word {
        "internal-agent" => return emulated::agent::main().map(|()| 0),
        "internal-snapshot" => {
            print!("{}", Snapshot::of_this_machine()?);
            return Ok(0);
        }
        _ => {}
    }
    let [name, rest @ ..] = rest else {
        bail!("{word} needs the name of a host");
    };
    let instance = Instance::parse(name)?;
    match (word, rest) {
        ("internal-supervise", []) => namespace::supervise(&instance)?,
        ("internal-keeper", []) => emulated::keeper::main(&instance)?,
        ("internal-init", []) => namespace::init(&instance)?,
        ("internal-daemon", [name, command @ ..]) => enter::daemon(&instance, name, command)?,
        ("internal-enter", command) => return Ok(enter::run(&instance, command)? as u8),
        _ => bail!("no such internal command: {word}"),
    }
    Ok(0)
}

fn act(arguments: &Arguments) -> Result<u8> {
    if arguments.list {
        return list();
    }
    if arguments.prepare {
        return life::prepare().map(|()| 0);
    }
    let name = arguments
        .name
        .as_deref()
        .context("which host? `tests/host --list` tells")?;
    let instance = Instance::parse(name)?;
    if arguments.down {
        life::down(&instance)?;
    } else if arguments.status {
        return status(&instance);
    } else if let Some(signal) = &arguments.restart_containerd {
        life::restart_containerd(&instance, parse_signal(signal)?)?;
    } else if let Some(signal) = &arguments.stop_containerd {
        life::stop_containerd(&instance, parse_signal(signal)?)?;
    } else if arguments.start_containerd {
        life::start_containerd(&instance)?;
    } else {
        return run(&instance, arguments);
    }
    Ok(0)
}

fn run(instance: &Instance, arguments: &Arguments) -> Result<u8> {
    let build = if arguments.without_build {
        Build::AsItIs
    } else {
        Build::Latest
    };
    life::ensure_up(instance, build)?;
    if arguments.command.is_empty() {
        return status(instance);
    }
    Ok(enter::run(instance, &arguments.command)? as u8)
}

fn list() -> Result<u8> {
    for kind in KINDS {
        println!("{}", kind.name);
    }
    for instance in life::list()? {
        status(&instance)?;
    }
    Ok(0)
}

fn status(instance: &Instance) -> Result<u8> {
    let Some(init) = life::init(instance)? else {
        println!("{instance}: down");
        return Ok(1);
    };
    let daemons = instance.kind.daemons();
    let daemons: Result<Vec<_>> = daemons
        .into_iter()
        .map(|one| daemon(instance, one))
        .collect();
    println!(
        "{instance}: up (pid {}), {}, logs in {}",
        init.pid,
        daemons?.join(", "),
        instance.state()?.display()
    );
    Ok(0)
}

fn daemon(instance: &Instance, daemon: &Daemon) -> Result<String> {
    Ok(match daemon.status(instance)? {
        Status::Running(pid) => format!("{} runs (pid {pid})", daemon.name),
        Status::Stopped => format!("{} was stopped", daemon.name),
        Status::Ended => format!("{} has ended", daemon.name),
    })
}

fn parse_signal(name: &str) -> Result<Signal> {
    Ok(match name.trim_start_matches("SIG") {
        "KILL" | "9" => Signal::KILL,
        "TERM" | "15" => Signal::TERM,
        "INT" | "2" => Signal::INT,
        "QUIT" | "3" => Signal::QUIT,
        "ABRT" | "6" => Signal::ABORT,
        other => bail!("`{other}`: the signals are KILL, TERM, INT, QUIT, ABRT"),
    })
}
