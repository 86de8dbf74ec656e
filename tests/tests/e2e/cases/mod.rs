//! All cases.

mod cache;
mod crashes;
mod docker;
mod engines;
mod failures;
mod kills;
mod load;
mod plugins;
mod pods;
mod programs;
mod run;
mod safety;
mod signals;
mod spec;
mod task;

use anyhow::Result;

use crate::test::Test;

/// One behaviour.
#[derive(Clone, Copy)]
pub struct Case {
    /// What must be so.
    pub name: &'static str,
    /// Whether the same holds for runc and the guest built for Linux.
    pub native: bool,
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
}

/// Lists functions of a file as cases: those that hold for runc too, then those of wasm alone.
macro_rules! cases {
    (as_with_runc: $native:tt, wasm: $wasm:tt $(,)?) => {
        $crate::cases::cases! { needs: Nothing, as_with_runc: $native, wasm: $wasm }
    };
    (needs: $needs:ident, as_with_runc: [$($native:ident),* $(,)?], wasm: [$($wasm:ident),* $(,)?] $(,)?) => {
        /// The cases of this file.
        pub const CASES: &[$crate::cases::Case] = &[
            $($crate::cases::Case { name: stringify!($native), native: true, needs: $crate::cases::Needs::$needs, run: $native },)*
            $($crate::cases::Case { name: stringify!($wasm), native: false, needs: $crate::cases::Needs::$needs, run: $wasm },)*
        ];
    };
}
use cases;

/// Whether this is a run of `make soak`: whole counts, and moments of chance.
fn soak() -> bool {
    std::env::var_os("TRIREME_SOAK").is_some()
}

pub fn all() -> impl Iterator<Item = Case> {
    [
        run::CASES,
        task::CASES,
        signals::CASES,
        spec::CASES,
        engines::CASES,
        failures::CASES,
        safety::CASES,
        programs::CASES,
        cache::CASES,
        crashes::CASES,
        load::CASES,
        plugins::CASES,
        pods::CASES,
        docker::CASES,
        if soak() { kills::CASES } else { &[] },
    ]
    .concat()
    .into_iter()
}
