//! What is told of processes that the kernel kills for want of memory.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::cases;
use super::exec::execute;
use crate::command::{LIMIT, Output, Running};
use crate::mode::Mode;
use crate::test::Test;

cases! {
    as_with_runc: [
        an_executed_program_that_dies_of_memory_is_told_of_at_once,
        a_container_that_dies_of_memory_is_told_of_once,
        who_died_of_memory_is_counted_after_the_end,
    ],
    wasm: [a_linux_program_that_dies_of_memory_is_told_of_at_once],
}

/// Little memory, which a guest that sleeps does not use up.
const LITTLE: [&str; 2] = ["--memory-limit", "67108864"];

/// containerd's events, as `ctr` prints them.
struct Events<'a> {
    test: &'a Test<'a>,
    printed: Running,
}

impl<'a> Events<'a> {
    /// From here on.
    fn of(test: &'a Test<'a>) -> Result<Self> {
        let mut events = Self {
            test,
            printed: test.start(&["ctr", "events"])?,
        };
        // It is not said when they are listened to.
        let id = format!("{}-witness", test.id);
        test.ctr(&["container", "create", test.mode.image(), &id])?;
        let deadline = Instant::now() + LIMIT;
        while !events.printed.seen().contains("/containers/update") {
            ensure!(Instant::now() < deadline, "{}", events.printed.seen());
            test.ctr(&["container", "label", &id, "seen=no"])?;
        }
        test.ctr(&["container", "delete", &id])?;
        events.wait_for("/containers/delete")?;
        Ok(events)
    }

    fn wait_for(&mut self, topic: &str) -> Result<()> {
        self.printed.wait_for(topic)
    }

    /// How often the container's want of memory was told of.
    fn count(&self) -> usize {
        let seen = self.printed.seen();
        let of_container = format!("\"{}\"", self.test.id);
        seen.lines()
            .filter(|line| line.contains("/tasks/oom") && line.contains(&of_container))
            .count()
    }

    /// Once; runc's shim may say it more often on cgroup v1.
    fn is_told_once(&self) -> Result<()> {
        let told = self.count();
        let seen = self.printed.seen();
        ensure!(
            told == 1 || (self.test.mode == Mode::Runc && told > 1),
            "{seen}"
        );
        Ok(())
    }
}

fn dies_beside(test: &Test<'_>, program: &[&str]) -> Result<()> {
    test.run_detached(&LITTLE, &["/sleep.wasm", "60"])?;
    let mut events = Events::of(test)?;
    execute(test, &[], program)?.expect(137)?;
    events.wait_for("/tasks/oom")?;
    let (_, status) = test.task()?;
    ensure!(status == "RUNNING", "{status}");
    // That is what Kubernetes reads when a container has ended.
    let metrics = test.ctr(&["task", "metrics", "--format", "json", &test.id])?;
    test.remove()?;
    events.wait_for(&removal(test))?;
    events.is_told_once()?;
    is_counted(test, &metrics)
}

/// That the kill is in the metrics; runc's shim on cgroup v1 leaves the count out.
fn is_counted(test: &Test<'_>, metrics: &Output) -> Result<()> {
    let kills = metrics.stdout.replace(char::is_whitespace, "");
    let has = |name: &str| kills.contains(&format!("\"{name}\":1"));
    ensure!(
        has("oom_kill") || has("oomKill") || test.mode == Mode::Runc,
        "{metrics:?}"
    );
    Ok(())
}

fn an_executed_program_that_dies_of_memory_is_told_of_at_once(test: &Test<'_>) -> Result<()> {
    dies_beside(test, &["/grow.wasm", "256"])
}

fn a_linux_program_that_dies_of_memory_is_told_of_at_once(test: &Test<'_>) -> Result<()> {
    let grow = [
        "/bin/busybox",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=256M",
        "count=1",
    ];
    dies_beside(test, &grow)
}

fn a_container_that_dies_of_memory_is_told_of_once(test: &Test<'_>) -> Result<()> {
    let mut events = Events::of(test)?;
    test.run(&LITTLE, &["/grow.wasm", "256"])?.expect(137)?;
    events.wait_for(&removal(test))?;
    match test.mode {
        // With its only container, runc's shim ends, at times before it has told.
        Mode::Runc => Ok(()),
        _ => events.is_told_once(),
    }
}

/// As clients ask who come when everything is over.
fn who_died_of_memory_is_counted_after_the_end(test: &Test<'_>) -> Result<()> {
    test.run_detached(&LITTLE, &["/grow.wasm", "256"])?;
    test.wait_for_status("STOPPED")?;
    let metrics = test.ctr(&["task", "metrics", "--format", "json", &test.id])?;
    is_counted(test, &metrics)?;
    test.remove()
}

/// What containerd itself says last: the shim of runc may end before it has told of the task's
/// deletion.
fn removal(test: &Test<'_>) -> String {
    format!("/containers/delete {{\"id\":\"{}\"}}", test.id)
}
