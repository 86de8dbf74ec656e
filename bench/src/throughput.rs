//! Containers a second, one after another and several at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use tokio::task::LocalSet;

use crate::cpu::{self, Meter};
use crate::figure::{Figure, Unit};
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::starter::templates;
use crate::task::{self, Client, Template};

/// How many at a time, and how many in one turn of a peer: in a whole run and in a quick one.
const SIZES: [(usize, usize, usize); 3] = [(1, 40, 2), (10, 60, 10), (50, 100, 50)];

/// How many containers a second are started and removed again, 1, 10 and 50 at a time.
#[derive(Debug, Args)]
pub struct Throughput {
    #[command(flatten)]
    options: Options,
}

impl Benchmark for Throughput {
    const NAME: &'static str = "throughput";
    const HOST: &'static str = "containerd-2.3";
    const ROUNDS: u32 = 20;
    const QUICK: u32 = 1;
    const WARM_UP: u32 = 1;

    fn options(&self) -> &Options {
        &self.options
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        let meter = Meter::find()?;
        let runtime = task::runtime()?;
        let streams = tempfile::tempdir().context("make a folder for streams")?;
        let client = runtime.block_on(Client::open(streams.path()))?;
        let templates = templates(&run.peers)?;
        let sizes = SIZES
            .map(|(at_a_time, whole, quick)| (at_a_time, if run.quick { quick } else { whole }));
        let mut figures = sizes.map(|(at_a_time, tasks)| figure(at_a_time, tasks, run));
        meter.rest()?;
        run.turns(|turn| {
            let template = &templates[turn.index];
            for (figure, (at_a_time, tasks)) in figures.iter_mut().zip(sizes) {
                let all = run_all(&client, template, at_a_time, tasks);
                let (seconds, cpu) = meter.measure(|| runtime.block_on(all))?;
                if turn.round.is_some() {
                    let tasks = tasks as f64;
                    figure.add_with_cpu(turn.index, tasks / seconds, cpu / tasks);
                }
            }
            Ok(())
        })?;
        figures.into_iter().for_each(|figure| report.add(figure));
        Ok(())
    }
}

fn figure(at_a_time: usize, tasks: usize, run: &Run) -> Figure {
    let title = format!("Containers a second, {at_a_time} at a time");
    let id = format!("at-a-time-{at_a_time}");
    Figure::new(&id, &title, Unit::TasksPerSecond, &run.peers).note(&format!(
        "Each value is of {tasks} containers that containerd's API is asked for, from creation to removal. A ratio \
         above 1 is more than the other's. {} It is that of one container.",
        cpu::NOTE
    ))
}

/// Runs some containers, so many at a time, and returns the seconds that all took.
async fn run_all(
    client: &Client,
    template: &Template,
    at_a_time: usize,
    tasks: usize,
) -> Result<f64> {
    let begin = Instant::now();
    let local = LocalSet::new();
    let next = Rc::new(Cell::new(0));
    let workers: Vec<_> = (0..at_a_time)
        .map(|_| {
            let (client, template, next) = (client.clone(), template.clone(), Rc::clone(&next));
            local.spawn_local(async move {
                while next.get() < tasks {
                    let number = next.replace(next.get() + 1);
                    let ran = client.run(&template, &format!("bench-{number}")).await;
                    // The others end what they are at, and begin no more.
                    ran.inspect_err(|_| next.set(tasks))?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    local.await;
    let seconds = begin.elapsed().as_secs_f64();
    for worker in workers {
        worker.await??;
    }
    Ok(seconds)
}
