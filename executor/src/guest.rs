//! Running a loaded program and saying how it ended.

use std::ffi::CString;
use std::io::Write;

use trireme_core::request::EngineChoice;
use trireme_engine::{Guest, Outcome, Program};

/// Runs the program; a failure is one line on standard error that names the
/// engine, the file and the cause. Returns the exit status.
pub fn run(program: Box<dyn Program>, guest: Guest, choice: &EngineChoice) -> u8 {
    let file = guest.args.first().cloned().unwrap_or_default();
    name_process(file.rsplit('/').next().unwrap_or(&file));
    let outcome = program.run(guest);
    report(&outcome, choice, &file);
    outcome.status()
}

/// Has `ps` and `top` tell a name that means something: the kernel's own would be the number of
/// the descriptor by which the server starts this program. The kernel keeps 15 bytes of it
/// (`PR_SET_NAME`).
pub fn name_process(name: &str) {
    // A path cannot hold a NUL, and without a name the guest is no worse off.
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

fn report(outcome: &Outcome, choice: &EngineChoice, file: &str) {
    if let Some((what, why)) = outcome.failure() {
        let line = format!(
            "trireme: {}: {file}: {what}: {}\n",
            choice.engine,
            why.trim_end()
        );
        // A reader that has gone away must not turn the status into a panic's.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// How many processors this process may use.
pub fn parallelism() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count().max(1) as usize)
}
