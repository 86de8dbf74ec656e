//! The first start of a program, which compiles it, and the second, which finds its code.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::command;
use crate::figure::{Figure, Unit};
use crate::peer::{self, Peer};
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::settings::{LEAVE_SOON, Settings};
use crate::starter::{Starter, templates};

/// A cache of the benchmark's own, so that the host keeps what it has.
const CACHE: &str = "/var/lib/trireme/bench-cache";

/// How long the first start of a program takes, and the second.
#[derive(Debug, Args)]
pub struct Cold {
    #[command(flatten)]
    options: Options,
}

/// What is started.
struct Program {
    id: &'static str,
    name: &'static str,
    image: &'static str,
    arguments: &'static [&'static str],
}

const PROGRAMS: [Program; 2] = [
    Program {
        id: "hello",
        name: "a small C program",
        image: "trireme.test/guests:latest",
        arguments: &["/hello.wasm"],
    },
    Program {
        id: "python",
        name: "CPython 3.12, a module of 26 MB",
        image: "trireme.test/python:latest",
        arguments: &["/python.wasm", "-c", "print(1)"],
    },
];

impl Program {
    /// A peer that runs it.
    fn of(&self, peer: &Peer) -> Peer {
        Peer {
            image: self.image.to_owned(),
            arguments: self.arguments.iter().map(ToString::to_string).collect(),
            ..peer.clone()
        }
    }
}

impl Benchmark for Cold {
    const NAME: &'static str = "cold";
    const HOST: &'static str = "containerd-2.3";
    const ROUNDS: u32 = 6;
    const QUICK: u32 = 1;
    const WARM_UP: u32 = 1;

    fn options(&self) -> &Options {
        &self.options
    }

    /// Those that have a cache.
    fn peers(&self) -> Vec<Peer> {
        let all = peer::all().into_iter();
        all.filter(|peer| peer.engine.is_some()).collect()
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        let _cache = Cache::set_up()?;
        for program in &PROGRAMS {
            measure(program, run, report)?;
        }
        Ok(())
    }
}

fn measure(program: &Program, run: &Run, report: &mut Report) -> Result<()> {
    let figure = |part: &str, title: &str, note: &str| {
        let id = format!("{}-{part}", program.id);
        let title = format!("{title}: {}", program.name);
        Figure::new(&id, &title, Unit::Milliseconds, &run.peers).note(note)
    };
    let by = "By containerd's API, from the creation of the container to its removal.";
    let mut first = figure("first", "First start, with an empty cache", by);
    let mut second = figure("second", "Second start, with its code in the cache", by);
    let mut compile = figure(
        "compile",
        "What compiling adds",
        "The first start less the second, in each round.",
    );
    let programs = run.peers.iter().map(|peer| program.of(peer));
    let templates = templates(&programs.collect::<Vec<_>>())?;
    let starter = Starter::open()?;
    run.turns(|turn| {
        empty_cache()?;
        let template = &templates[turn.index];
        let times = [starter.start(template)?, starter.start(template)?];
        if turn.round.is_some() {
            first.add(turn.index, times[0]);
            second.add(turn.index, times[1]);
            compile.add(turn.index, (times[0] - times[1]).max(0.0));
        }
        Ok(())
    })?;
    for figure in [first, second, compile.unjudged()] {
        report.add(figure);
    }
    Ok(())
}

/// As an operator does it.
fn empty_cache() -> Result<()> {
    command::run(Command::new("trireme").args(["cache", "prune", "--all"])).map(drop)
}

/// The configuration that names [`CACHE`]. Where the host's names another cache, that one is
/// emptied.
struct Cache {
    _settings: Settings,
}

impl Cache {
    fn set_up() -> Result<Self> {
        let cache = format!("[cache]\ndir = \"{CACHE}\"\n");
        Ok(Self {
            _settings: Settings::add(&[&cache, LEAVE_SOON])?,
        })
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if !Path::new(CACHE).exists() {
            return;
        }
        if let Err(error) = fs::remove_dir_all(CACHE) {
            eprintln!("bench: remove {CACHE}: {error}");
        }
    }
}
