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

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::Adapter;

/// Runs the suite on `adapter` and reports as `cargo test` does.
///
/// Must be called from `main` before anything else: the program is run again
/// for each guest, and is only that guest then.
pub fn main(adapter: &'static dyn Adapter) -> ExitCode {
    if let Some(request) = process::requested() {
        return process::serve(adapter, &request);
    }
    let trials = cases::of(adapter.info())
        .into_iter()
        .map(|(name, case)| {
            Trial::test(name, move || {
                case(&subject::Subject::new(adapter));
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
