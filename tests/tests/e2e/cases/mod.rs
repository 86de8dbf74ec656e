//! All cases.

mod accounts;
mod ahead;
mod apparmor;
mod cache;
mod cgroups;
mod crashes;
mod docker;
mod docker_errors;
mod docker_exec;
mod docker_life;
mod docker_network;
mod docker_options;
mod engines;
mod exec;
mod exec_births;
mod exec_linux;
mod failures;
mod images;
mod kills;
mod kube;
mod limit;
mod load;
mod logging;
mod oom;
mod plugins;
mod pods;
mod programs;
mod run;
mod safety;
mod signals;
mod spec;
mod task;
pub mod walk;
mod wasmedge;
mod wasmedge_native;
mod zygote;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::LIMIT;
use crate::test::Test;

/// One behaviour.
#[derive(Clone, Copy)]
pub struct Case {
    /// What must be so.
    pub name: &'static str,
    /// Whether the same holds for runc and the guest built for Linux.
    pub native: bool,
    /// Whether it depends on the engine, so that every engine has to be tried.
    pub each_engine: bool,
    /// Whether it is of the host, whatever engines are tried there.
    pub each_host: bool,
    /// What the host must have.
    pub needs: Needs,
    pub run: fn(&Test<'_>) -> Result<()>,
}

/// What a host has beside containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    Docker,
    Cri,
    /// Handlers whose pods the shim makes itself.
    Sandboxes,
    /// A kernel of its own, and systemd.
    Machine,
    /// Kubernetes. Such a host has no other cases: its containerd is another host's too.
    Kube,
    /// A C library that is too old for libwasmedge.
    OldLibc,
    /// libwasmedge.
    WasmEdge,
}

/// Lists functions of a file as cases: those that hold for runc too, and those of wasm alone; and
/// the same two for what depends on the engine. Those of `on_each_host` are of wasm alone, and run
/// even where one engine is tried.
macro_rules! cases {
    (
        $(needs: $needs:ident,)?
        as_with_runc: $native:tt,
        wasm: $wasm:tt
        $(, on_each_engine: { as_with_runc: $native_of_each:tt, wasm: $wasm_of_each:tt $(,)? })?
        $(, on_each_host: $on_each_host:tt)?
        $(,)?
    ) => {
        /// The cases of this file.
        pub fn all() -> Vec<$crate::cases::Case> {
            const NEEDS: $crate::cases::Needs = $crate::cases::needs!($($needs)?);
            [
                $crate::cases::list!(true, false, false, $native),
                $crate::cases::list!(false, false, false, $wasm),
                $(
                    $crate::cases::list!(true, true, false, $native_of_each),
                    $crate::cases::list!(false, true, false, $wasm_of_each),
                )?
                $($crate::cases::list!(false, false, true, $on_each_host),)?
            ]
            .concat()
        }
    };
}
use cases;

macro_rules! list {
    ($native:literal, $each_engine:literal, $each_host:literal, [$($run:ident),* $(,)?]) => {
        vec![$($crate::cases::Case {
            name: stringify!($run),
            native: $native,
            each_engine: $each_engine,
            each_host: $each_host,
            needs: NEEDS,
            run: $run,
        }),*]
    };
}
use list;

macro_rules! needs {
    () => {
        $crate::cases::Needs::Nothing
    };
    ($needs:ident) => {
        $crate::cases::Needs::$needs
    };
}
use needs;

/// Whether this is a run of `make soak`: whole counts, every engine with both servers, and other
/// moments of chance with each run.
pub fn soak() -> bool {
    std::env::var_os("TRIREME_SOAK").is_some()
}

/// The pause between two questions: a client that is started for each takes a processor.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until the answer is right.
pub fn wait_until<T>(ask: impl Fn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match ask() {
            Err(error) if Instant::now() > deadline => {
                return Err(error).context(format!("not so after {LIMIT:?}"));
            }
            Err(_) => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}

pub fn all() -> impl Iterator<Item = Case> {
    [
        run::all(),
        task::all(),
        exec::all(),
        exec_births::all(),
        exec_linux::all(),
        signals::all(),
        spec::all(),
        engines::all(),
        walk::all(),
        zygote::all(),
        ahead::all(),
        failures::all(),
        safety::all(),
        programs::all(),
        cache::all(),
        apparmor::all(),
        cgroups::all(),
        crashes::all(),
        load::all(),
        logging::all(),
        oom::all(),
        plugins::all(),
        pods::all(),
        pods::faults::all(),
        pods::limits::all(),
        pods::sandboxes::all(),
        pods::upgrade::all(),
        images::all(),
        images::fetch::all(),
        images::docker::all(),
        images::cri::all(),
        docker::all(),
        docker_exec::all(),
        wasmedge::all(),
        wasmedge_native::all(),
        docker_errors::all(),
        docker_life::all(),
        docker_network::all(),
        docker_options::all(),
        kube::all(),
        kills::all(),
        pods::storm::all(),
    ]
    .into_iter()
    .flatten()
}
