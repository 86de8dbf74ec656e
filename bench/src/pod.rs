//! Pods of one container, as the kubelet asks for them, with and without a pause container.

pub mod cri;

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use self::cri::Client;
use crate::containerd::Handler;
use crate::cpu::{self, Meter};
use crate::figure::{Figure, Unit};
use crate::machine;
use crate::peer::{self, NULL, Peer, WITHOUT_PAUSE};
use crate::report::Report;
use crate::run::{Benchmark, Options, Run};
use crate::task;

/// How many pods are made at a time.
const AT_A_TIME: usize = 10;
/// Every how many rounds so many are.
const EVERY: u32 = 5;

/// The handlers of CRI that a host may lack.
pub const HANDLERS: &[Handler<'static>] = &[
    ("null", "io.containerd.null-sleep.v1", false),
    ("wasmer-node", "io.containerd.wasmer-node.v1", false),
    ("wasmedge", "io.containerd.wasmedge.v1", false),
    ("wasmedge-node", "io.containerd.wasmedge-node.v1", false),
    ("wasm-sandbox", "io.containerd.wasm.v1", true),
    ("wasm-node-sandbox", "io.containerd.wasm-node.v1", true),
];

/// How long a pod of one container takes, from the call that makes it until its container runs.
#[derive(Debug, Args)]
pub struct Pod {
    #[command(flatten)]
    options: Options,
}

impl Benchmark for Pod {
    const NAME: &'static str = "pod";
    const HOST: &'static str = "forky-2.3";
    const ROUNDS: u32 = 100;
    const HANDLERS: &[Handler<'static>] = HANDLERS;

    fn options(&self) -> &Options {
        &self.options
    }

    fn peers(&self) -> Vec<Peer> {
        peers()
    }

    fn lacks(&self, peer: &Peer) -> Option<String> {
        lacks(peer)
    }

    fn measure(&self, run: &Run, report: &mut Report) -> Result<()> {
        let figures = with_client(|runtime, client| self.all_turns(run, runtime, client))?;
        figures.into_iter().for_each(|figure| report.add(figure));
        Ok(())
    }
}

/// The peers of the other benchmarks, and pods that Trireme makes itself.
pub fn peers() -> Vec<Peer> {
    let mut peers = peer::all();
    for peer in &mut peers {
        if peer.name == NULL {
            peer.runtime = "io.containerd.null-sleep.v1".to_owned();
        }
    }
    for (name, handler) in [("pod", "wasm"), ("node", "wasm-node")] {
        peers.push(Peer {
            name: format!("wasmtime/{name}{WITHOUT_PAUSE}"),
            cri_handler: Some(format!("{handler}-sandbox")),
            ..peer::trireme("wasmtime", name, handler)
        });
    }
    peers
}

/// Has `measure` with a client of CRI and what makes its calls; there is no pod before, and none
/// behind, whatever a failure has left.
///
/// # Errors
///
/// Its own, or when pods cannot be removed.
pub fn with_client<T>(
    measure: impl FnOnce(&tokio::runtime::Runtime, &Client) -> Result<T>,
) -> Result<T> {
    let runtime = task::runtime()?;
    let folder = tempfile::tempdir().context("make a folder for logs")?;
    let client = runtime.block_on(Client::open(folder.path()))?;
    runtime.block_on(client.clear())?;
    let measured = measure(&runtime, &client);
    let cleared = runtime.block_on(client.clear());
    let measured = measured?;
    cleared.map(|()| measured)
}

/// Why CRI of this host cannot make pods of a peer, where it cannot.
pub fn lacks(peer: &Peer) -> Option<String> {
    let Some(handler) = &peer.cri_handler else {
        return Some("CRI has no handler for it".to_owned());
    };
    let known = machine::output("crictl", &["info"]).unwrap_or_default();
    let is_known = known.contains(&format!("\"{handler}\""));
    (!is_known).then(|| format!("CRI of this containerd has no handler {handler}"))
}

impl Pod {
    fn all_turns(
        &self,
        run: &Run,
        runtime: &tokio::runtime::Runtime,
        client: &Client,
    ) -> Result<[Figure; 3]> {
        let mut figures = figures(run);
        let meter = Meter::find()?;
        meter.rest()?;
        run.turns(|turn| {
            let peer = turn.peer;
            let mut value = |index: usize, measured: (f64, f64)| {
                if turn.round.is_some() {
                    figures[index].add_with_cpu(turn.index, measured.0, measured.1);
                }
            };
            let clear = || {
                runtime.block_on(client.clear())?;
                meter.rest()
            };
            let one = meter.measure(|| {
                let time = runtime.block_on(client.run(peer, "bench-one"))?;
                Ok(time.as_secs_f64() * 1e3)
            });
            value(0, one?);
            clear()?;
            let by_crictl = meter.measure(|| {
                let time = client.run_by_crictl(peer, "bench-crictl")?;
                Ok(time.as_secs_f64() * 1e3)
            });
            value(1, by_crictl?);
            clear()?;
            if turn.round.is_none_or(|round| round % EVERY == 0) {
                let ten = meter.measure(|| runtime.block_on(at_a_time(client, peer)));
                value(2, ten?);
                clear()?;
            }
            Ok(())
        })?;
        Ok(figures)
    }
}

fn figures(run: &Run) -> [Figure; 3] {
    let figure = |id, title: &str| Figure::new(id, title, Unit::Milliseconds, &run.peers);
    let note = "With the network of the host's CNI configuration, which is the same for all and in every time.";
    [
        figure("grpc", "One pod, by CRI's API").note(&format!(
            "From RunPodSandbox to the answer to StartContainer. {note} {}",
            cpu::NOTE
        )),
        figure("crictl", "One pod, by `crictl run`").note(&format!(
            "From the start of that client to its end. {note} {}",
            cpu::NOTE
        )),
        figure("ten", &format!("{AT_A_TIME} pods at a time, by CRI's API"))
            .note(&format!(
                "Until the containers of all {AT_A_TIME} run; in every {EVERY}th round. {note} {}",
                cpu::NOTE
            ))
            // Its halves are of few values.
            .unjudged(),
    ]
}

/// Makes some pods at a time, and returns the milliseconds until the last one's container runs.
async fn at_a_time(client: &Client, peer: &Peer) -> Result<f64> {
    let begin = Instant::now();
    let pods: Vec<_> = (0..AT_A_TIME)
        .map(|number| {
            let (client, peer) = (client.clone(), peer.clone());
            tokio::spawn(async move { client.run(&peer, &format!("bench-{number}")).await })
        })
        .collect();
    let mut result = Ok(());
    for pod in pods {
        let made = pod.await.context("make a pod")?;
        result = result.and(made.map(drop));
    }
    result.map(|()| begin.elapsed().as_secs_f64() * 1e3)
}
