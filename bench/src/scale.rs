//! Start to end of one container while many others sleep in the same containerd.

use anyhow::{Context, Result};
use clap::Args;

use crate::figure::{Curve, Figure, Line, Unit};
use crate::peer::{self, Peer};
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::sleepers::{self, Containers, Fleet};
use crate::starter::{Starter, templates};
use crate::stats::median;

/// How long a container takes while others sleep.
#[derive(Debug, Args)]
pub struct Scale {
    /// The numbers of containers that sleep meanwhile, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    counts: Vec<usize>,
    /// The peer whose containers sleep.
    #[arg(long, default_value = "wasmtime/node", value_name = "NAME")]
    sleepers: String,
    #[command(flatten)]
    options: Options,
}

impl Scale {
    /// In ascending order: those that sleep are only added to.
    fn counts(&self) -> Vec<usize> {
        let mut counts = match (self.counts.is_empty(), self.options.quick) {
            (false, _) => self.counts.clone(),
            (true, true) => vec![0, 5],
            (true, false) => vec![0, 100, 300, 500],
        };
        counts.sort_unstable();
        counts.dedup();
        counts
    }

    /// The peer whose containers sleep; it need not be measured.
    fn sleeper(&self, run: &Run) -> Result<Peer> {
        let known = run.peers.iter().cloned().chain(peer::all());
        let named = known.into_iter().find(|peer| peer.name == self.sleepers);
        let named = named
            .with_context(|| format!("--sleepers {}: there is no such peer", self.sleepers))?;
        let sleeping = sleepers::sleeping(vec![named]).pop();
        sleeping.context("no peer sleeps")
    }
}

impl Benchmark for Scale {
    const NAME: &'static str = "scale";
    const HOST: &'static str = "containerd-2.3";
    const ROUNDS: u32 = 30;

    fn options(&self) -> &Options {
        &self.options
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        let sleeper = self.sleeper(run)?;
        let mut sleepers = Containers::of(&sleeper);
        // Of a run that was killed.
        sleepers.remove_all()?;
        let starter = Starter::open()?;
        let templates = templates(&run.peers)?;
        let mut curve = Curve {
            id: "start-over-sleepers".to_owned(),
            title: "Start to end, by containerd's API, while others sleep".to_owned(),
            x: format!("sleeping containers of {}", sleeper.name),
            y: "ms, median".to_owned(),
            note: String::new(),
            lines: run.peers.iter().map(line).collect(),
        };
        for count in self.counts() {
            sleepers.fill(count)?;
            let id = format!("start-beside-{count}");
            let title = format!("Start to end, by containerd's API, while {count} others sleep");
            let mut figure = Figure::new(&id, &title, Unit::Milliseconds, &run.peers);
            run.turns(|turn| {
                let time = starter.start(&templates[turn.index])?;
                if turn.round.is_some() {
                    figure.add(turn.index, time);
                }
                Ok(())
            })?;
            for (line, row) in curve.lines.iter_mut().zip(&figure.rows) {
                line.points.push([count as f64, median(&row.values)]);
            }
            report.add(figure);
        }
        report.curves.push(curve);
        sleepers.remove_all()
    }
}

fn line(peer: &Peer) -> Line {
    Line {
        peer: peer.name.clone(),
        points: Vec::new(),
    }
}
