//! Start to end of one container, peer after peer, round after round.

mod ctr;

use anyhow::Result;
use clap::Args;

use crate::figure::{Figure, Unit};
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};

/// How long a container takes, from its creation to its removal.
#[derive(Debug, Args)]
pub struct Start {
    #[command(flatten)]
    options: Options,
}

impl Benchmark for Start {
    const NAME: &'static str = "start";
    const HOST: &'static str = "containerd-2.3";
    const ROUNDS: u32 = 300;

    fn options(&self) -> &Options {
        &self.options
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        let mut ctr = Figure::new("ctr", "ctr run --rm", Unit::Milliseconds, &run.peers);
        run.turns(|turn| {
            let time = ctr::start(turn.peer)?;
            if turn.round.is_some() {
                ctr.add(turn.index, time);
            }
            Ok(())
        })?;
        report.add(ctr);
        Ok(())
    }
}
