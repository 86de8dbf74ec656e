//! The server alone: from the Create of a container as CRI asks for it to the first byte that its guest
//! prints, without containerd in between.

mod connection;
mod container;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::container::{Place, Template};
use crate::containerd::Handler;
use crate::cpu::Meter;
use crate::figure::{Figure, Unit};
use crate::peer::{Peer, WITHOUT_PAUSE};
use crate::pod;
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};

/// How long a server takes from the call that creates a container until its guest prints something.
#[derive(Debug, Args)]
pub struct Server {
    #[command(flatten)]
    options: Options,
}

impl Benchmark for Server {
    const NAME: &'static str = "server";
    const HOST: &'static str = "forky-2.3";
    const ROUNDS: u32 = 100;
    const HANDLERS: &[Handler<'static>] = pod::HANDLERS;

    fn options(&self) -> &Options {
        &self.options
    }

    /// Those that have a server of Trireme, and a pause container to share namespaces with.
    fn peers(&self) -> Vec<Peer> {
        let fits = |peer: &Peer| peer.engine.is_some() && !peer.name.ends_with(WITHOUT_PAUSE);
        pod::peers().into_iter().filter(fits).collect()
    }

    fn lacks(&self, peer: &Peer) -> Option<String> {
        pod::lacks(peer)
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        let figures = pod::with_client(|runtime, client| {
            self.all_turns(run, |peer, name| {
                runtime.block_on(client.run(peer, name)).map(drop)
            })
        })?;
        figures.into_iter().for_each(|figure| report.add(figure));
        Ok(())
    }
}

impl Server {
    fn all_turns(
        &self,
        run: &Run,
        make_pod: impl Fn(&Peer, &str) -> Result<()>,
    ) -> Result<[Figure; 3]> {
        ensure!(
            self.options.configs.is_empty(),
            "--config: servers are started before any peer's turn"
        );
        let image = &run.peers[0].image;
        let other = run.peers.iter().find(|peer| peer.image != *image);
        ensure!(other.is_none(), "peers of two images: {other:?}");
        let [mut whole, mut create, mut start] = figures(run);
        let place = Place::with(image)?;
        let mut templates = Vec::new();
        for (index, peer) in run.peers.iter().enumerate() {
            let name = format!("bench-server-{index}");
            make_pod(peer, &name)?;
            templates.push(Template::of(&name).with_context(|| peer.name.clone())?);
        }
        let meter = Meter::find()?;
        run.turns(|turn| {
            meter.rest()?;
            let times = templates[turn.index].run(&place)?;
            if turn.round.is_some() {
                let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
                whole.add(turn.index, milliseconds(times.whole));
                create.add(turn.index, milliseconds(times.create));
                start.add(turn.index, milliseconds(times.start));
            }
            Ok(())
        })?;
        Ok([whole, create, start])
    }
}

fn figures(run: &Run) -> [Figure; 3] {
    let figure = |id, title| Figure::new(id, title, Unit::Milliseconds, &run.peers);
    [
        figure("server", "From Create to the first byte").note(
            "Of a container in a pod that runs, with the specification that CRI makes, which nobody has announced: \
             from the call of Create, which Start follows at once, to its first byte of output. In it are the \
             server's own work, init with its cgroups, namespaces and mounts, the engine, and the guest's way to \
             its first line.",
        ),
        figure("create", "Create").note("From the call to its answer."),
        figure("start", "From Start to the first byte")
            .note("From the call, which is made when Create is answered."),
    ]
}
