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
    arguments.test_threads.get_or_insert(hosts.count());
    let conclusion = libtest_mimic::run(&arguments, trials(&hosts));
    hosts.take_down();
    conclusion.exit();
}

/// Hosts alternate, so that as many threads as there are hosts keep each of them busy.
fn trials(hosts: &Arc<Hosts>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for mode in Mode::ALL {
        for case in cases::all().filter(|case| mode.is_wasm() || case.native) {
            for index in 0..hosts.count() {
                let name = format!("{}::{}::{}", hosts.kind(index), mode.name(), case.name);
                let hosts = Arc::clone(hosts);
                let run = move || test::run(&hosts, index, mode, &case).map_err(Into::into);
                trials.push(Trial::test(name, run));
            }
        }
    }
    trials
}
