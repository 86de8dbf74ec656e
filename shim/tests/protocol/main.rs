//! The server without containerd and without engines: transcripts of real containerds are
//! replayed to it, every method is called in every state, hooks run, processes are executed,
//! containers are announced, a Linux program waits, and pods are made without a pause container.
//!
//! The server is the real program. Its executor is this very program under another name
//! ([`executor`]), so that guests do as they are told and nothing has to be compiled. Namespaces
//! and cgroups are real, which needs root.

mod ahead;
mod calls;
mod execs;
mod executor;
mod linux;
mod pods;
mod replay;
mod resources;
mod runs;
mod server;
mod states;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let program = std::env::args().next().unwrap_or_default();
    if program == trireme_shim::install::EXECUTOR {
        return executor::main();
    }
    let arguments = Arguments::from_args();
    if !arguments.list && !rustix::process::geteuid().is_root() {
        eprintln!("protocol: these tests make namespaces and cgroups: run them as root");
        return ExitCode::FAILURE;
    }
    let mut trials = replay::trials();
    trials.extend(states::trials());
    trials.extend(calls::trials());
    trials.extend(ahead::trials());
    trials.extend(execs::trials());
    trials.extend(linux::trials());
    trials.extend(pods::trials());
    trials.extend(resources::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
