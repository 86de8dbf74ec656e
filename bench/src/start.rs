//! Start to end of one container, peer after peer, round after round.

use anyhow::Result;
use clap::Args;

use crate::cpu::{self, Meter};
use crate::ctr;
use crate::figure::{Figure, Unit};
use crate::peer::Peer;
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::starter::{Starter, templates};
use crate::task;

/// The name of the container that `ctr` runs.
const CTR: &str = "bench";

/// How long a container takes, from its creation to its removal.
#[derive(Debug, Args)]
pub struct Start {
    #[command(flatten)]
    options: Options,
    /// All with containerd's default system call filter, as Docker's containers have it and those of
    /// Kubernetes with the profile `RuntimeDefault`.
    #[arg(long)]
    seccomp: bool,
}

impl Benchmark for Start {
    const NAME: &'static str = "start";
    const HOST: &'static str = "containerd-2.3";
    const ROUNDS: u32 = 300;

    fn options(&self) -> &Options {
        &self.options
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        let figure = |id, title| Figure::new(id, title, Unit::Milliseconds, &run.peers);
        let filter = match self.seccomp {
            true => " Every container has containerd's default system call filter.",
            false => "",
        };
        let mut whole = figure("grpc", "Start to end, by containerd's API").note(&format!(
            "From the call that creates the container to the answer that its snapshot is gone: container, snapshot \
             and task created, task started, its exit awaited, all deleted.{filter} {}",
            cpu::NOTE
        ));
        let mut first = figure("first-byte", "First byte of output, by containerd's API")
            .note("From the call that creates the container to the first byte that it prints. The null shim \
                   prints nothing.");
        let mut ctr = figure("ctr", "Start to end, by `ctr run --rm`").note(&format!(
            "From the start of that client to its end.{filter} {}",
            cpu::NOTE
        ));
        let mut parts = task::PARTS.map(|(id, title)| figure(id, title).unjudged());
        let meter = Meter::find()?;
        let starter = Starter::open()?;
        let peers = run.peers.iter().cloned().map(|peer| Peer {
            filtered: self.seccomp,
            ..peer
        });
        let peers: Vec<_> = peers.collect();
        let templates = templates(&peers)?;
        meter.rest()?;
        run.turns(|turn| {
            let template = &templates[turn.index];
            let (times, cpu) = meter.measure(|| starter.run(template))?;
            let (time, cpu_of_ctr) = meter.measure(|| ctr::run(&peers[turn.index], CTR))?;
            if turn.round.is_some() {
                whole.add_with_cpu(turn.index, times.gone.as_secs_f64() * 1e3, cpu);
                for (part, time) in parts.iter_mut().zip(times.parts) {
                    part.add(turn.index, time.as_secs_f64() * 1e3);
                }
                if let Some(time) = times.first_byte {
                    first.add(turn.index, time.as_secs_f64() * 1e3);
                }
                ctr.add_with_cpu(turn.index, time.as_secs_f64() * 1e3, cpu_of_ctr);
            }
            Ok(())
        })?;
        for figure in [whole, first, ctr].into_iter().chain(parts) {
            report.add(figure);
        }
        Ok(())
    }
}
