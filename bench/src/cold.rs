//! The first start of a program, which compiles it, and the second, which finds its code.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::bare::{Bare, ENGINE};
use crate::command;
use crate::figure::{Figure, Unit};
use crate::peer::{self, Peer};
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::settings::{LEAVE_SOON, Settings};
use crate::starter::{Starter, templates};
use crate::stats::median;

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
    /// Its file, below the image's root.
    file: &'static str,
    /// Its arguments behind its name.
    arguments: &'static [&'static str],
}

const PROGRAMS: [Program; 2] = [
    Program {
        id: "hello",
        name: "a small C program",
        image: "trireme.test/guests:latest",
        file: "hello.wasm",
        arguments: &[],
    },
    Program {
        id: "python",
        name: "CPython 3.12, a module of 26 MB",
        image: "trireme.test/python:latest",
        file: "python.wasm",
        arguments: &["-c", "print(1)"],
    },
];

impl Program {
    /// Its name and arguments.
    fn words(&self) -> Vec<String> {
        let name = format!("/{}", self.file);
        let rest = self.arguments.iter().map(ToString::to_string);
        std::iter::once(name).chain(rest).collect()
    }

    /// A peer that runs it.
    fn of(&self, peer: &Peer) -> Peer {
        Peer {
            image: self.image.to_owned(),
            arguments: self.words(),
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
        let programs = PROGRAMS.each_ref().map(|it| (it.file, it.image));
        let bare = Bare::with(&programs).context("set up the engine's own library")?;
        for program in &PROGRAMS {
            measure(program, &bare, run, report)?;
        }
        Ok(())
    }
}

fn measure(program: &Program, bare: &Bare, run: &Run, report: &mut Report) -> Result<()> {
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
    let mut alone = Vec::new();
    run.turns(|turn| {
        empty_cache()?;
        let template = &templates[turn.index];
        let times = [starter.start(template)?, starter.start(template)?];
        if turn.round.is_some() {
            first.add(turn.index, times[0]);
            second.add(turn.index, times[1]);
            compile.add(turn.index, (times[0] - times[1]).max(0.0));
            alone.push(by_itself(program, bare)?);
        }
        Ok(())
    })?;
    report.notes.push(format!(
        "{}: {:.1} ms on {ENGINE}'s own library with its code compiled, from the start of that process to its end, \
         median",
        program.name,
        median(&alone)
    ));
    for figure in [first, second, compile.unjudged()] {
        report.add(figure);
    }
    Ok(())
}

/// The milliseconds that it takes without a container.
fn by_itself(program: &Program, bare: &Bare) -> Result<f64> {
    let begin = Instant::now();
    bare.start(program.file, &program.words())?.finish()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
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
