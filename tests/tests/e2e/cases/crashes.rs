//! Parties killed at each named step, in a build that has the steps
//! (`crash-steps`), beside the ordinary one.

use anyhow::{Result, ensure};
use trireme_tests::host::install;
use trireme_tests::paths;

use super::cases;
use crate::mode;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        a_death_after_state,
        a_death_after_clone,
        a_death_after_mount,
        a_death_before_ready,
        a_death_after_exit,
        a_death_before_unlink,
        a_killed_init_is_reported,
        a_killed_server_takes_its_guests_along_and_no_more,
    ],
}

/// The runtime of the build with steps, by its path.
pub(super) fn runtime(test: &Test<'_>) -> Result<String> {
    let folder = paths::cache()?.join("dist/crash/bin");
    ensure!(
        folder.exists(),
        "{} is missing: run `make build-crash`",
        folder.display()
    );
    // Handlers that users are not given have no name there yet.
    let path = install::link(&folder, mode::handler(test.mode.runtime()))?;
    Ok(path.display().to_string())
}

/// Has the next party that reaches the step die there.
pub(super) fn arm(test: &Test<'_>, step: &str) -> Result<()> {
    let script = format!("mkdir -p /run/trireme && echo {step} > /run/trireme/crash-step");
    test.exec(&["sh", "-ec", &script])?.expect(0).map(drop)
}

/// Runs a container to whatever end it comes to; the party that reaches the
/// step dies there. Afterwards nothing may be left (the harness looks), and the
/// next container runs.
fn die_at(test: &Test<'_>, step: &str) -> Result<()> {
    arm(test, step)?;
    let output = test.run_of(&runtime(test)?, test.mode.image(), &["/exit.wasm", "7"])?;
    let unused = test.exec(&["rm", "/run/trireme/crash-step"])?;
    ensure!(unused.code != 0, "nobody came by {step}: {output:?}");
    // The streams of a client whose Delete failed are the client's, and it
    // leaves them.
    test.exec(&["sh", "-c", "rm -rf /run/containerd/fifo/*"])?;
    // A guest that had ended may be reported with its own code, one that was
    // lost with 137 or an error; never as a success.
    ensure!(output.code != 0, "{output:?}");
    test.next_container_runs()
}

fn a_death_after_state(test: &Test<'_>) -> Result<()> {
    die_at(test, "after_state")
}

fn a_death_after_clone(test: &Test<'_>) -> Result<()> {
    die_at(test, "after_clone")
}

fn a_death_after_mount(test: &Test<'_>) -> Result<()> {
    die_at(test, "after_mount")
}

fn a_death_before_ready(test: &Test<'_>) -> Result<()> {
    die_at(test, "before_ready")
}

fn a_death_after_exit(test: &Test<'_>) -> Result<()> {
    die_at(test, "after_exit")
}

fn a_death_before_unlink(test: &Test<'_>) -> Result<()> {
    die_at(test, "before_unlink")
}

fn a_killed_init_is_reported(test: &Test<'_>) -> Result<()> {
    let mut running = test.start_guest(&[], &["/sleep.wasm", "60"])?;
    running.wait_for("sleeping")?;
    let (pid, _) = test.task()?;
    test.exec(&["kill", "-KILL", &pid])?.expect(0)?;
    running.finish(crate::command::LIMIT)?.expect(137)?;
    test.next_container_runs()
}

fn a_killed_server_takes_its_guests_along_and_no_more(test: &Test<'_>) -> Result<()> {
    let mut running = test.start_guest(&[], &["/sleep.wasm", "60"])?;
    running.wait_for("sleeping")?;
    test.exec(&["sh", "-c", "kill -KILL $(pgrep -f '[t]rireme-shim server')"])?
        .expect(0)?;
    let output = running.finish(crate::command::LIMIT)?;
    // `ctr` waits on the server itself, and tells that it is gone.
    ensure!(output.code != 0, "{output:?}");
    test.exec(&["sh", "-c", "rm -rf /run/containerd/fifo/*"])?;
    test.next_container_runs()
}
