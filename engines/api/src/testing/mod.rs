//! Test doubles and the suite that every adapter must pass.
//!
//! An adapter's crate runs the suite as a test program of its own:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     trireme_engine::testing::main(&trireme_engine::testing::fake::ADAPTER)
//! }
//! ```
//!
//! as `tests/suite.rs`, with `harness = false` in its manifest. `cargo test`
//! then lists every case by name, and takes a part of a name as a filter.
//!
//! Each case that needs the engine has it in a child process, which is this
//! same program again: a guest owns descriptors 0, 1 and 2 of its process, an
//! engine its signal handlers, and a crash fails one case only. Which cases an
//! engine gets follows from its [`Info`](crate::Info): a limit that it does not
//! declare is not tested, and bytes of a kind that it does not take must be
//! refused.

mod cases;
pub mod fake;
mod process;
mod subject;
pub mod tools;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::Adapter;
use subject::Subject;

/// A case that an engine is known to fail, and why: a reference to its
/// documentation or an issue, or what its interface lacks.
pub type KnownFailure = (&'static str, &'static str);

/// Settings whose values are words, by their keys.
pub type Words = &'static [(&'static str, &'static str)];

/// Runs the whole suite on `adapter` and reports as `cargo test` does.
///
/// Must be called from `main` before anything else: the program is run again
/// for each guest, and is only that guest then.
pub fn main(adapter: &'static dyn Adapter) -> ExitCode {
    main_except(adapter, &[])
}

/// As [`main`], for an engine that fails some cases. Each of those must go on
/// failing: the suite fails when one starts to pass, or has another name.
pub fn main_except(adapter: &'static dyn Adapter, known: &'static [KnownFailure]) -> ExitCode {
    main_with(adapter, &[], known)
}

/// As [`main_except`], for an engine with these settings, each a key and a word,
/// and the defaults for all others.
pub fn main_with(
    adapter: &'static dyn Adapter,
    settings: Words,
    known: &'static [KnownFailure],
) -> ExitCode {
    if let Some(request) = process::requested() {
        return process::serve(adapter, &request);
    }
    let cases = cases::of(adapter.info());
    let is_case = |name: &str| cases.iter().any(|(case, _)| *case == name);
    if let Some((name, _)) = known.iter().find(|(name, _)| !is_case(name)) {
        eprintln!("known failure {name}: this engine has no such case");
        return ExitCode::FAILURE;
    }
    let trials = cases
        .into_iter()
        .map(|(name, case)| {
            let known = known.iter().find(|(failing, _)| *failing == name);
            Trial::test(name, move || {
                run(Subject::new(adapter, settings), case, known)
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(subject: Subject, case: fn(&Subject), known: Option<&KnownFailure>) -> Result<(), Failed> {
    let Some((_, reason)) = known else {
        case(&subject);
        return Ok(());
    };
    match std::panic::catch_unwind(AssertUnwindSafe(|| case(&subject))) {
        Ok(()) => Err(format!("it passes, take it off the list ({reason})").into()),
        Err(_) => Ok(()),
    }
}
