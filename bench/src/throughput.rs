//! Containers a second, one after another and several at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use tokio::task::LocalSet;

use crate::cpu::{self, Meter};
use crate::ctr;
use crate::figure::{Figure, Unit};
use crate::peer::Peer;
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::starter::templates;
use crate::task::{self, Client, Template};

/// How many are run in one turn of a peer.
struct Size {
    at_a_time: usize,
    by_api: usize,
    by_ctr: usize,
    quick: usize,
}

const fn size(at_a_time: usize, by_api: usize, by_ctr: usize, quick: usize) -> Size {
    Size {
        at_a_time,
        by_api,
        by_ctr,
        quick,
    }
}

const SIZES: [Size; 3] = [
    size(1, 40, 20, 2),
    size(10, 60, 40, 10),
    size(50, 100, 50, 50),
];

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
        let count = |whole, size: &Size| if run.quick { size.quick } else { whole };
        let mut figures = SIZES.each_ref().map(|size| {
            let by_api = count(size.by_api, size);
            let by_ctr = count(size.by_ctr, size);
            let figure = |id, asked: &str, tasks| figure(id, asked, size.at_a_time, tasks, run);
            [
                (figure("at-a-time", "by containerd's API", by_api), by_api),
                (figure("ctr", "by `ctr run --rm`", by_ctr), by_ctr),
            ]
        });
        meter.rest()?;
        run.turns(|turn| {
            let template = &templates[turn.index];
            let add = |(figure, tasks): &mut (Figure, usize), (seconds, cpu): (f64, f64)| {
                if turn.round.is_some() {
                    let tasks = *tasks as f64;
                    figure.add_with_cpu(turn.index, tasks / seconds, cpu / tasks);
                }
            };
            for ([by_api, by_ctr], Size { at_a_time, .. }) in figures.iter_mut().zip(SIZES) {
                let all = run_all(&client, template, at_a_time, by_api.1);
                add(by_api, meter.measure(|| runtime.block_on(all))?);
                let all = || run_all_by_ctr(turn.peer, at_a_time, by_ctr.1);
                add(by_ctr, meter.measure(all)?);
            }
            Ok(())
        })?;
        for (figure, _) in figures.into_iter().flatten() {
            report.add(figure);
        }
        Ok(())
    }
}

/// The figure of one size: `id` and `by` say who is asked.
fn figure(id: &str, by: &str, at_a_time: usize, tasks: usize, run: &Run) -> Figure {
    let title = format!("Containers a second, {at_a_time} at a time, {by}");
    let id = format!("{id}-{at_a_time}");
    Figure::new(&id, &title, Unit::TasksPerSecond, &run.peers).note(&format!(
        "Each value is of {tasks} containers, from creation to removal. A ratio above 1 is more than the other's. \
         {} It is that of one container.",
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

/// The same by `ctr run --rm`, a client for each.
fn run_all_by_ctr(peer: &Peer, at_a_time: usize, tasks: usize) -> Result<f64> {
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= tasks {
                return Ok(());
            }
            let ran = ctr::run(peer, &format!("bench-{number}"));
            // The others end what they are at, and begin no more.
            ran.inspect_err(|_| next.store(tasks, Ordering::Relaxed))?;
        }
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended
            .map(|ended| ended.unwrap_or_else(|_| Err(anyhow!("a worker panicked"))))
            .collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    results.into_iter().collect::<Result<()>>()?;
    Ok(seconds)
}
