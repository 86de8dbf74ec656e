//! Parties killed at moments that nobody chose.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use trireme_tests::engines::Engine;

use super::{cases, soak, wait_until};
use crate::command::LIMIT;
use crate::mode::{Mode, Server};
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [random_kills_leave_nothing],
}

/// The longest that a kill waits after `ctr run`, in milliseconds: past the
/// start of the guest on a quiet machine.
const WINDOW: u64 = 120;

/// How many parties are killed, briefly and in `make soak`.
const ROUNDS: (u64, u64) = (10, 200);

/// A small generator (Knuth's MMIX), so that a run can be repeated by its seed.
pub struct Moments(pub u64);

impl Moments {
    /// A number below another.
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What the moments come from: `TRIREME_SEED`; or in `make soak` another with each run, and else one
/// for each host and mode.
pub fn seed(test: &Test<'_>) -> Result<u64> {
    match std::env::var("TRIREME_SEED") {
        Ok(seed) => seed.parse().context("TRIREME_SEED"),
        Err(_) if soak() => Ok(std::process::id().into()),
        Err(_) => {
            let name = format!("{} {}", test.host.instance.kind.name, test.mode.name());
            Ok(name.bytes().map(u64::from).sum())
        }
    }
}

/// In each round a container starts, a moment later one party is killed, and
/// `ctr` has to come to an end that is no success. The harness looks for what
/// is left behind.
fn random_kills_leave_nothing(test: &Test<'_>) -> Result<()> {
    let seed = seed(test)?;
    let mut moments = Moments(seed);
    let rounds = if soak() { ROUNDS.1 } else { ROUNDS.0 };
    for round in 0..rounds {
        let victim = [
            "[t]rireme-executor init",
            "[t]rireme-executor compile",
            "[t]rireme-shim server",
        ][moments.next(3) as usize];
        let pause = moments.next(WINDOW);
        // Without, there is no compiler to kill.
        let cold = moments.next(4) == 0 || victim.ends_with("compile");
        one_round(test, round, victim, pause, cold).with_context(|| {
            format!("round {round} of seed {seed}: {victim} after {pause} ms, cold: {cold}")
        })?;
    }
    next_servers_sweep(test)
}

/// A server that died before containerd had a connection to it, or together with containerd, is
/// removed by one that comes up later, as one of a pod of its own does each time.
pub fn next_servers_sweep(test: &Test<'_>) -> Result<()> {
    let script = "cd /run/trireme && ls | grep 'new$'
        for lock in */.lock; do
            flock --nonblock $lock flock --nonblock ${lock%.lock}.alive echo $lock
        done; true";
    let next = Mode::Wasm(Engine::Wasmtime, Server::PerPod);
    wait_until(|| {
        let left = test.exec(&["sh", "-c", script])?;
        if left.stdout.is_empty() {
            return Ok(());
        }
        test.run_of(next.runtime(), next.image(), &["/hello.wasm"])?
            .expect(0)?;
        bail!("still there: {left:?}")
    })?;
    test.next_container_runs()
}

fn one_round(test: &Test<'_>, round: u64, victim: &str, pause: u64, cold: bool) -> Result<()> {
    if cold {
        let clear = "rm -rf /var/lib/trireme/cache/* /run/trireme/identities /run/trireme/verified";
        test.exec(&["sh", "-c", clear])?;
    }
    let id = format!("{}-{round}", test.id);
    let words = [
        "ctr",
        "run",
        "--rm",
        "--runtime",
        test.mode.runtime(),
        test.mode.image(),
    ];
    let guest = [id.as_str(), "/sleep.wasm", "60"];
    let mut running = test.start(&[&words[..], &guest[..]].concat())?;
    running.close_stdin();
    std::thread::sleep(Duration::from_millis(pause));
    test.exec(&[
        "sh",
        "-c",
        &format!("kill -KILL $(pgrep -f '{victim}') 2>/dev/null"),
    ])?;
    // Where nobody was there to be killed, the guest sleeps, or is yet to come.
    let deadline = Instant::now() + LIMIT;
    while !running.is_over() && Instant::now() < deadline {
        test.exec(&["ctr", "task", "kill", "--signal", "SIGKILL", &id])?;
    }
    let output = running.finish(LIMIT)?;
    ensure!(output.code != 0, "{output:?}");
    // What a client leaves whose calls failed is the client's.
    let rest = format!(
        "ctr task delete --force {id}; ctr container delete {id}; rm -rf /run/containerd/fifo/*; true"
    );
    test.exec(&["sh", "-c", &format!("({rest}) 2>/dev/null")])?;
    Ok(())
}
