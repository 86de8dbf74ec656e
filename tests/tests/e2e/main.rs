//! Trireme under real containerds: every case on every host, with a server per pod and with one
//! per node, and where a Linux program must behave the same, also with runc and the same guest
//! built for Linux. The last says that it is the case that is right.
//!
//! `cargo test --release -p trireme-tests --test e2e -- bookworm::per_node` runs a part.

mod cases;
mod command;
mod hosts;
mod mode;
mod test;

use std::sync::Arc;

use hosts::Hosts;
use libtest_mimic::{Arguments, Trial};
use mode::Mode;

fn main() {
    Hosts::take_down_on_signals();
    let mut arguments = Arguments::from_args();
    let hosts = Arc::new(Hosts::new());
    arguments.test_threads.get_or_insert_with(threads);
    let conclusion = libtest_mimic::run(&arguments, trials(&hosts));
    hosts.take_down();
    conclusion.exit();
}

/// A case uses a host alone; more of them at once than this machine has processors would have
/// them wait for each other.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get().max(2))
}

/// Hosts alternate, so that no thread waits for the host of another.
fn trials(hosts: &Arc<Hosts>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for mode in Mode::ALL {
        for case in cases::all().filter(|case| mode.is_wasm() || case.native) {
            for index in (0..hosts.count()).filter(|index| hosts.has(*index, case.needs)) {
                let name = format!("{}::{}::{}", hosts.kind(index), mode.name(), case.name);
                let hosts = Arc::clone(hosts);
                let run = move || test::run(&hosts, index, mode, &case).map_err(Into::into);
                trials.push(Trial::test(name, run));
            }
        }
    }
    trials
}
