//! Memory: what many containers or pods that sleep take from the system.

mod tables;

use anyhow::Result;
use clap::Args;

use self::tables::Tables;
use crate::containerd::Handler;
use crate::memory::Reading;
use crate::peer::{self, Peer};
use crate::pod;
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::settings::{LEAVE_SOON, Settings};
use crate::sleepers::{self, Containers, Fleet, Pods};

/// The memory that containers take that sleep.
#[derive(Debug, Args)]
pub struct Density {
    #[command(flatten)]
    counts: Counts,
    #[command(flatten)]
    options: Options,
}

/// The memory that pods take with one container that sleeps, by CRI.
#[derive(Debug, Args)]
pub struct PodDensity {
    #[command(flatten)]
    counts: Counts,
    #[command(flatten)]
    options: Options,
}

/// Where is read.
#[derive(Debug, Args)]
struct Counts {
    /// The numbers of containers or pods that are read at, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    counts: Vec<usize>,
}

impl Counts {
    /// In ascending order, from 0.
    fn get(&self, quick: bool) -> Vec<usize> {
        let mut counts = match (self.counts.is_empty(), quick) {
            (false, _) => self.counts.clone(),
            (true, true) => vec![1, 5],
            (true, false) => vec![1, 5, 10, 20, 50, 100, 200, 500],
        };
        counts.push(0);
        counts.sort_unstable();
        counts.dedup();
        counts
    }
}

impl Benchmark for Density {
    const NAME: &'static str = "density";
    const HOST: &'static str = "containerd-2.3";
    const ROUNDS: u32 = 3;
    const QUICK: u32 = 1;
    const WARM_UP: u32 = 0;

    fn options(&self) -> &Options {
        &self.options
    }

    fn peers(&self) -> Vec<Peer> {
        sleepers::sleeping(peer::all())
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        measure("container", run, report, &self.counts, |peer| {
            Ok(Containers::of(peer))
        })
    }
}

impl Benchmark for PodDensity {
    const NAME: &'static str = "pod-density";
    const HOST: &'static str = "forky-2.3";
    const ROUNDS: u32 = 3;
    const QUICK: u32 = 1;
    const WARM_UP: u32 = 0;
    const HANDLERS: &[Handler<'static>] = pod::HANDLERS;

    fn options(&self) -> &Options {
        &self.options
    }

    fn peers(&self) -> Vec<Peer> {
        sleepers::sleeping(pod::peers())
    }

    fn lacks(&self, peer: &Peer) -> Option<String> {
        pod::lacks(peer)
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        measure("pod", run, report, &self.counts, Pods::of)
    }
}

fn measure<'a, F: Fleet>(
    what: &'static str,
    run: &'a Run,
    report: &mut Report,
    counts: &Counts,
    fleet: impl Fn(&'a Peer) -> Result<F>,
) -> Result<()> {
    let counts = counts.get(run.quick);
    let _settings = Settings::add(&[LEAVE_SOON])?;
    // Of a run that was killed.
    sleepers::remove(fleet(&run.peers[0])?)?;
    let mut tables = Tables::of(what, &run.peers, &counts)?;
    run.turns(|turn| {
        let readings = readings(|| fleet(&run.peers[turn.index]), &counts)?;
        if turn.round.is_some() {
            tables.add(turn.index, &readings);
        }
        Ok(())
    })?;
    tables.report(&run.peers, report);
    Ok(())
}

/// Reads at each number. The first of them, which is 0, is after one that has come and gone, so
/// that what happens once only has happened.
fn readings<F: Fleet>(fleet: impl Fn() -> Result<F>, counts: &[usize]) -> Result<Vec<Reading>> {
    let mut first = fleet()?;
    first.fill(1)?;
    sleepers::remove(first)?;
    let mut many = fleet()?;
    let mut readings = Vec::new();
    for count in counts {
        many.fill(*count)?;
        readings.push(Reading::settled()?);
    }
    sleepers::remove(many)?;
    Ok(readings)
}
