//! Where guests of a server come from: copies of its zygote, or processes of their own.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::cases;
use crate::command::LIMIT;
use crate::mode::Server;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [],
    on_each_engine: {
        as_with_runc: [],
        wasm: [
            a_killed_zygote_is_started_anew,
            guests_of_a_node_are_copies_of_a_zygote,
        ],
    },
}

/// The pids of all zygotes of the host.
fn zygotes(test: &Test<'_>) -> Result<Vec<String>> {
    let list = test.exec(&["pgrep", "--exact", "trireme-zygote"])?;
    Ok(list.stdout.lines().map(str::to_owned).collect())
}

/// The one zygote of the host, or none for a server of one pod.
fn zygote(test: &Test<'_>) -> Result<Option<String>> {
    let all = zygotes(test)?;
    let wanted = usize::from(test.mode.server() == Server::PerNode);
    ensure!(all.len() == wanted, "zygotes: {all:?}");
    Ok(all.into_iter().next())
}

/// Where a process's stack begins, which the kernel chooses anew for each program, and which a
/// copy shares (`startstack` of proc_pid_stat(5)).
fn stack_of(test: &Test<'_>, pid: &str) -> Result<String> {
    let stat = test
        .exec(&["cat", &format!("/proc/{pid}/stat")])?
        .expect(0)?;
    let fields = stat
        .stdout
        .rsplit_once(')')
        .context("no name")?
        .1
        .to_owned();
    let start = fields.split_whitespace().nth(25).context("no startstack")?;
    Ok(start.to_owned())
}

fn guests_of_a_node_are_copies_of_a_zygote(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let (pid, _) = test.task()?;
    let stack = stack_of(test, &pid)?;
    let arguments = format!("tr '\\0' ' ' < /proc/{pid}/cmdline");
    let arguments = test.exec(&["sh", "-c", &arguments])?.stdout;
    let seen = match zygote(test)? {
        Some(zygote) => (stack_of(test, &zygote)? == stack, is_bare(test, &zygote)?),
        None => (true, true),
    };
    test.remove()?;
    ensure!(seen == (true, true), "(a copy, bare): {seen:?}");
    let words: Vec<_> = arguments.split_whitespace().collect();
    ensure!(words == ["trireme-executor", "init"], "{words:?}");
    Ok(())
}

/// Whether a zygote has one thread, and nothing open but its streams and its link.
fn is_bare(test: &Test<'_>, pid: &str) -> Result<bool> {
    let script = format!("ls /proc/{pid}/task; ls /proc/{pid}/fd");
    let seen = test.exec(&["sh", "-c", &script])?.expect(0)?.stdout;
    let seen: Vec<_> = seen.lines().collect();
    Ok(seen == [pid, "0", "1", "2", "3"])
}

fn a_killed_zygote_is_started_anew(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let Some(first) = zygote(test)? else {
        return test.remove();
    };
    test.exec(&["kill", "-KILL", &first])?.expect(0)?;
    let next = Test {
        host: test.host,
        mode: test.mode,
        id: format!("{}-next", test.id),
    };
    next.next_container_runs()?;
    let deadline = Instant::now() + LIMIT;
    while zygotes(test)?.iter().all(|pid| *pid == first) {
        ensure!(Instant::now() < deadline, "there is no other zygote");
    }
    next.next_container_runs()?;
    let (_, status) = test.task()?;
    test.remove()?;
    ensure!(status == "RUNNING", "the first guest is {status}");
    Ok(())
}
