//! Many containers, and a containerd that goes away.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{cases, soak};
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        many_in_a_row_end_with_their_own_codes,
        a_guest_that_idles_lives_on,
        containerd_comes_back_to_all_its_tasks,
        two_containers_of_a_pod_share_a_server,
    ],
    on_each_engine: {
        as_with_runc: [],
        wasm: [
            fifty_in_parallel_end_with_their_own_codes,
        ],
    },
}

/// Long enough for the counts below on a busy machine.
const LONG: Duration = Duration::from_secs(240);

fn fifty_in_parallel_end_with_their_own_codes(test: &Test<'_>) -> Result<()> {
    let script = format!(
        "for n in $(seq 0 49); do\n\
         (ctr run --rm --runtime {} {} {}-$n /exit.wasm $n; echo \"$n $?\") &\n\
         done; wait",
        test.mode.runtime(),
        test.mode.image(),
        test.id
    );
    let output = test
        .start(&["sh", "-c", &script])?
        .finish(LONG)?
        .expect(0)?;
    let right = output
        .stdout
        .lines()
        .filter(|line| matches!(line.split_once(' '), Some((n, code)) if n == code))
        .count();
    ensure!(right == 50, "{right} of 50: {output:?}");
    Ok(())
}

fn many_in_a_row_end_with_their_own_codes(test: &Test<'_>) -> Result<()> {
    let count = if soak() { 500 } else { 60 };
    let script = format!(
        "for n in $(seq 1 {count}); do\n\
         ctr run --rm --runtime {} {} {}-$n /exit.wasm $((n % 100)); code=$?\n\
         [ $code = $((n % 100)) ] || {{ echo \"$n ended with $code\"; exit 1; }}\n\
         done",
        test.mode.runtime(),
        test.mode.image(),
        test.id
    );
    test.start(&["sh", "-c", &script])?
        .finish(LONG)?
        .expect(0)?;
    Ok(())
}

/// The kernel ties a guest to the thread that spawned it: one that ended for
/// want of work would take the guest along.
fn a_guest_that_idles_lives_on(test: &Test<'_>) -> Result<()> {
    let mut running = test.start_guest(&[], &["/sleep.wasm", "31"])?;
    running.wait_for("sleeping")?;
    running.finish(LIMIT + Duration::from_secs(15))?.expect(0)?;
    Ok(())
}

fn containerd_comes_back_to_all_its_tasks(test: &Test<'_>) -> Result<()> {
    let id = |n: usize| format!("{}-{n}", test.id);
    let run = |n: usize, seconds: &str| {
        let id = id(n);
        let words = ["run", "-d", "--null-io", "--runtime", test.mode.runtime()];
        let guest = [test.mode.image(), &id, "/sleep.wasm", seconds, "9"];
        test.ctr(&[&words[..], &guest[..]].concat())
    };
    for n in 0..10 {
        run(n, "300")?;
    }
    for n in 10..15 {
        run(n, "3")?;
    }
    test.kill_containerd()?;
    let name = if test.mode.is_wasm() {
        "[t]rireme-executor init"
    } else {
        "^[/]sleep.wasm"
    };
    let ended = || -> Result<bool> {
        let inits = test.exec(&["pgrep", "-fc", name])?;
        Ok(inits.stdout.trim() == "10")
    };
    let deadline = Instant::now() + LIMIT;
    while !ended()? {
        ensure!(Instant::now() < deadline, "the short guests did not end");
    }
    test.start_containerd()?;
    for n in 10..15 {
        let id = id(n);
        let code = wait_and_delete(test, &id)?;
        ensure!(code == 9, "a guest that ended meanwhile: {code}");
        test.ctr(&["container", "delete", &id])?;
    }
    let list = test.ctr(&["task", "ls"])?;
    let running = list.stdout.matches("RUNNING").count();
    ensure!(running == 10, "{running} of 10 still run: {list:?}");
    // The first process of a Linux container ignores what it has no handler for.
    let (signal, status) = if test.mode.is_wasm() {
        ("SIGTERM", 143)
    } else {
        ("SIGKILL", 137)
    };
    for n in 0..10 {
        let id = id(n);
        test.ctr(&["task", "kill", "--signal", signal, &id])?;
        let output = wait_and_delete(test, &id)?;
        ensure!(output == status, "{id} ended with {output}");
        test.ctr(&["container", "delete", &id])?;
    }
    test.next_container_runs()
}

/// Deletes a task as soon as it has stopped, and returns the code that `ctr`
/// warns of, 0 without a warning.
fn wait_and_delete(test: &Test<'_>, id: &str) -> Result<i32> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let output = test.exec(&["ctr", "task", "delete", id])?;
        if output.code == 0 {
            let code = output
                .stderr
                .split("exit code ")
                .nth(1)
                .map_or("0", str::trim);
            let code = code.trim_end_matches('"');
            return code.parse().with_context(|| format!("{output:?}"));
        }
        ensure!(Instant::now() < deadline, "never stopped: {output:?}");
    }
}

fn two_containers_of_a_pod_share_a_server(test: &Test<'_>) -> Result<()> {
    let pod = format!("io.kubernetes.cri.sandbox-id={}", test.id);
    let second = format!("{}-second", test.id);
    test.run_detached(&["--annotation", &pod], &["/sleep.wasm", "60"])?;
    let words = [
        "run",
        "-d",
        "--null-io",
        "--runtime",
        test.mode.runtime(),
        "--annotation",
        &pod,
    ];
    let guest = [test.mode.image(), &second, "/sleep.wasm", "60"];
    test.ctr(&[&words[..], &guest[..]].concat())?;
    let servers = test.exec(&["pgrep", "-fc", "[t]rireme-shim server"])?;
    ensure!(servers.stdout.trim() == "1", "servers: {servers:?}");
    test.remove()?;
    test.ctr(&["task", "kill", "--signal", "SIGKILL", &second])?;
    ensure!(wait_and_delete(test, &second)? == 137);
    test.ctr(&["container", "delete", &second])?;
    Ok(())
}
