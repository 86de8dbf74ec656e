//! Programs that run for a while: the processor time that they take in a container, beside that on
//! the engine's own library.

mod container;
mod work;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::resource::UsageWho;

use self::work::{WORKS, Work};
use crate::bare::{Bare, ENGINE};
use crate::cpu;
use crate::figure::{Figure, Unit};
use crate::peer::{self, Peer};
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::stats::median;

/// The processor time of programs, beside that on the engine's own library.
#[derive(Debug, Args)]
pub struct Steady {
    #[command(flatten)]
    options: Options,
}

impl Benchmark for Steady {
    const NAME: &'static str = "steady";
    const HOST: &'static str = "containerd-2.3";
    const ROUNDS: u32 = 10;
    const QUICK: u32 = 1;
    const WARM_UP: u32 = 1;

    fn options(&self) -> &Options {
        &self.options
    }

    fn peers(&self) -> Vec<Peer> {
        let all = peer::all().into_iter();
        all.filter(|peer| peer.engine.as_deref() == Some(ENGINE))
            .collect()
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        for peer in &run.peers {
            let is_same = peer.engine.as_deref().is_none_or(|engine| engine == ENGINE);
            ensure!(
                is_same,
                "{}: only {ENGINE} is there without containers",
                peer.name
            );
        }
        let programs = WORKS.each_ref().map(|work| (work.file, work.image));
        let bare = Bare::with(&programs).context("set up the engine's own library")?;
        for work in &WORKS {
            measure(work, &bare, run, report).context(work.id)?;
        }
        Ok(())
    }
}

fn measure(work: &Work, bare: &Bare, run: &Run, report: &mut Report) -> Result<()> {
    let mut times = Figure::new(
        &format!("{}-cpu", work.id),
        &format!("Processor time: {}", work.title),
        Unit::Milliseconds,
        &run.peers,
    )
    .note(
        "User and system time that the container's cgroup has used at the program's end: the program, and its \
         setting up.",
    );
    let mut ratios = Figure::new(
        &format!("{}-part", work.id),
        &format!(
            "The same, as a part of that on the engine's own library: {}",
            work.title
        ),
        Unit::Percent,
        &run.peers,
    )
    .note("Each is run right before or right behind the other, in turn.");
    let mut alone = Vec::new();
    run.turns(|turn| {
        let name = "bench-steady";
        let in_container = || container::run(turn.peer, work, name, bare.folder());
        let is_first = turn.round.unwrap_or(0) % 2 == 0;
        let (container, own) = if is_first {
            let container = in_container()?;
            (container, by_itself(bare, work)?)
        } else {
            let own = by_itself(bare, work)?;
            (in_container()?, own)
        };
        if turn.round.is_some() {
            times.add(turn.index, container.as_secs_f64() * 1e3);
            ratios.add(
                turn.index,
                100.0 * container.as_secs_f64() / own.as_secs_f64(),
            );
            alone.push(own.as_secs_f64() * 1e3);
        }
        Ok(())
    })?;
    report.notes.push(format!(
        "{}: {:.0} ms on the engine's own library, median",
        work.title,
        median(&alone)
    ));
    report.add(times);
    report.add(ratios);
    Ok(())
}

/// Does a work without a container, and returns the processor time that its process took.
fn by_itself(bare: &Bare, work: &Work) -> Result<Duration> {
    let session = work.session()?;
    let before = cpu::used_by(UsageWho::RUSAGE_CHILDREN)?;
    let running = bare.start(work.file, &session.arguments)?;
    session.attend()?;
    running.finish()?;
    Ok(cpu::used_by(UsageWho::RUSAGE_CHILDREN)?.saturating_sub(before))
}
