//! `ctr task exec`: other programs beside a container's first one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cases;
use crate::command::{LIMIT, Output, Running};
use crate::mode::Mode;
use crate::test::Test;

cases! {
    as_with_runc: [
        an_executed_program_has_the_containers_environment_and_its_own_folder,
        an_executed_program_reads_until_the_end_of_its_input,
        an_executed_program_can_have_a_terminal,
        a_detached_program_is_listed_and_can_be_killed,
        nothing_is_executed_in_a_paused_container,
        nothing_is_executed_in_a_container_that_has_ended,
        twenty_programs_at_once,
        the_end_of_a_container_ends_what_is_executed_in_it,
        a_program_that_is_not_there_is_not_executed,
    ],
    wasm: [
        an_executed_program_is_in_the_containers_namespaces_and_cgroup,
        what_is_no_program_is_not_executed,
        any_function_of_a_module_can_be_executed,
        a_killed_server_takes_executed_programs_along,
    ],
    on_each_engine: {
        as_with_runc: [an_executed_program_is_heard_and_its_code_told],
        wasm: [],
    },
}

/// The words of `ctr task exec` of a program of the case's container.
pub(super) fn words<'a>(
    test: &'a Test<'_>,
    id: &'a str,
    flags: &[&'a str],
    program: &[&'a str],
) -> Vec<&'a str> {
    let head = ["ctr", "task", "exec", "--exec-id", id];
    [&head[..], flags, &[&test.id], program].concat()
}

/// How many programs may seem to have said nothing: now and then runc's shim loses what one has said
/// that ends at once.
fn losses(test: &Test<'_>) -> u32 {
    if test.mode == Mode::Runc { 2 } else { 0 }
}

/// Executes a program to its end; again where what it has said is lost.
pub(super) fn execute(test: &Test<'_>, flags: &[&str], program: &[&str]) -> Result<Output> {
    let words = words(test, "one", flags, program);
    let mut losses = losses(test);
    loop {
        let output = test.exec(&words)?;
        if losses == 0 || !output.stdout.is_empty() {
            return Ok(output);
        }
        losses -= 1;
    }
}

pub(super) fn start(test: &Test<'_>, id: &str, program: &[&str]) -> Result<Running> {
    test.start(&words(test, id, &[], program))
}

pub(super) fn sleeping(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])
}

/// The pids in the container, as the shim tells them.
pub(super) fn pids(test: &Test<'_>) -> Result<Vec<String>> {
    let list = test.ctr(&["task", "ps", &test.id])?;
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(list.stdout.lines().skip(1).filter_map(first).collect())
}

/// Waits until there are so many pids in the container.
pub(super) fn wait_for_pids(test: &Test<'_>, count: usize) -> Result<Vec<String>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let pids = pids(test)?;
        if pids.len() == count {
            return Ok(pids);
        }
        ensure!(Instant::now() < deadline, "{pids:?} are not {count}");
    }
}

/// The streams of a client that does not wait are the client's, and it leaves them.
pub(super) fn clear_streams(test: &Test<'_>) -> Result<()> {
    test.exec(&["sh", "-c", "rm -rf /run/containerd/fifo/*"])?;
    Ok(())
}

fn an_executed_program_is_heard_and_its_code_told(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let output = execute(test, &[], &["/args.wasm", "a", "b c"])?.expect(0)?;
    ensure!(output.stdout == "/args.wasm\na\nb c\n", "{output:?}");
    execute(test, &[], &["/exit.wasm", "7"])?.expect(7)?;
    ensure!(pids(test)?.len() == 1, "{:?}", pids(test)?);
    test.remove()
}

fn an_executed_program_has_the_containers_environment_and_its_own_folder(
    test: &Test<'_>,
) -> Result<()> {
    test.run_detached(&["--env", "COLOUR=red"], &["/sleep.wasm", "60"])?;
    let output = execute(test, &[], &["/env.wasm"])?.expect(0)?;
    ensure!(output.stdout.contains("COLOUR=red\n"), "{output:?}");
    let output = execute(test, &["--cwd", "/work"], &["/cwd.wasm"])?.expect(0)?;
    ensure!(
        output.stdout.ends_with("in the work folder\n"),
        "{output:?}"
    );
    test.remove()
}

fn an_executed_program_reads_until_the_end_of_its_input(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let mut running = start(test, "one", &["/cat.wasm"])?;
    running.write("one line\n")?;
    running.wait_for("one line\n")?;
    running.close_stdin();
    let output = running.finish(LIMIT)?.expect(0)?;
    ensure!(
        output.stderr.contains("end of input after 9 bytes"),
        "{output:?}"
    );
    test.remove()
}

fn an_executed_program_can_have_a_terminal(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let line = words(test, "one", &["--tty"], &["/isatty.wasm"]).join(" ");
    let output = test
        .exec(&["script", "-qec", &line, "/dev/null"])?
        .expect(0)?;
    for stream in 0..3 {
        let told = format!("{stream} terminal");
        ensure!(output.stdout.contains(&told), "{output:?}");
    }
    test.remove()
}

fn a_detached_program_is_listed_and_can_be_killed(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    test.exec(&words(test, "one", &["--detach"], &["/sleep.wasm", "60"]))?
        .expect(0)?;
    wait_for_pids(test, 2)?;
    let list = test.ctr(&["task", "ps", &test.id])?;
    ensure!(list.stdout.contains("one"), "{list:?}");
    let kill = ["task", "kill", "--exec-id", "one", "--signal", "SIGKILL"];
    test.ctr(&[&kill[..], &[&test.id]].concat())?;
    wait_for_pids(test, 1)?;
    let delete = ["ctr", "task", "delete", "--exec-id", "one", &test.id];
    let deadline = Instant::now() + LIMIT;
    while test.exec(&delete)?.code != 137 {
        ensure!(Instant::now() < deadline, "{:?}", test.exec(&delete)?);
    }
    clear_streams(test)?;
    test.remove()
}

fn nothing_is_executed_in_a_paused_container(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    test.ctr(&["task", "pause", &test.id])?;
    let output = execute(test, &[], &["/hello.wasm"])?.expect(1)?;
    ensure!(
        output.stderr.contains("cannot exec in a paused state"),
        "{output:?}"
    );
    clear_streams(test)?;
    test.ctr(&["task", "resume", &test.id])?;
    execute(test, &[], &["/hello.wasm"])?.expect(0)?;
    test.remove()
}

fn nothing_is_executed_in_a_container_that_has_ended(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/exit.wasm", "0"])?;
    test.wait_for_status("STOPPED")?;
    let output = execute(test, &[], &["/hello.wasm"])?.expect(1)?;
    ensure!(
        output.stderr.contains("cannot exec in a stopped state"),
        "{output:?}"
    );
    clear_streams(test)?;
    test.remove()
}

fn twenty_programs_at_once(test: &Test<'_>) -> Result<()> {
    twenty_at_once(test, &["/args.wasm"], "/args.wasm\n")
}

/// Executes a program twenty times, each with a word of its own, which it says after others.
pub(super) fn twenty_at_once(test: &Test<'_>, program: &[&str], said: &str) -> Result<()> {
    sleeping(test)?;
    let ids: Vec<_> = (0..20).map(|number| format!("exec-{number}")).collect();
    let programs = ids
        .iter()
        .map(|id| start(test, id, &[program, &[id]].concat()));
    let programs = programs.collect::<Result<Vec<_>>>()?;
    let mut losses = losses(test);
    for (id, program) in ids.iter().zip(programs) {
        let output = program.finish(2 * LIMIT)?.expect(0)?;
        if losses > 0 && output.stdout.is_empty() {
            losses -= 1;
            continue;
        }
        ensure!(output.stdout == format!("{said}{id}\n"), "{output:?}");
    }
    ensure!(pids(test)?.len() == 1, "{:?}", pids(test)?);
    test.remove()
}

fn the_end_of_a_container_ends_what_is_executed_in_it(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let mut program = start(test, "one", &["/spin.wasm"])?;
    program.wait_for("spinning")?;
    let began = Instant::now();
    test.ctr(&["task", "kill", "--signal", "SIGKILL", &test.id])?;
    program.finish(LIMIT)?.expect(137)?;
    test.wait_for_status("STOPPED")?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(3), "it took {took:?}");
    test.remove()
}

fn a_program_that_is_not_there_is_not_executed(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let output = execute(test, &[], &["/nowhere.wasm"])?.expect(1)?;
    ensure!(
        output.stderr.contains("no such file or directory"),
        "{output:?}"
    );
    execute(test, &[], &["/hello.wasm"])?.expect(0)?;
    test.remove()
}

fn an_executed_program_is_in_the_containers_namespaces_and_cgroup(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let (init, _) = test.task()?;
    let mut program = start(test, "one", &["/spin.wasm"])?;
    program.wait_for("spinning")?;
    let pids = wait_for_pids(test, 2)?;
    let other = pids.iter().find(|pid| **pid != init).context("one pid")?;
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let of = |pid: &str| test.exec(&["readlink", &format!("/proc/{pid}/ns/{kind}")]);
        let (ours, theirs) = (of(&init)?.expect(0)?, of(other)?.expect(0)?);
        ensure!(ours.stdout == theirs.stdout, "{kind}: {ours:?} {theirs:?}");
    }
    let of = |pid: &str, file: &str| test.exec(&["cat", &format!("/proc/{pid}/{file}")]);
    let (ours, theirs) = (of(&init, "cgroup")?, of(other, "cgroup")?);
    ensure!(ours.stdout == theirs.stdout, "{ours:?} {theirs:?}");
    let status = of(other, "status")?.expect(0)?;
    for line in [
        "CapPrm:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        ensure!(status.stdout.contains(line), "{line}: {status:?}");
    }
    test.exec(&["kill", "-KILL", other])?.expect(0)?;
    program.finish(LIMIT)?.expect(137)?;
    test.remove()
}

fn what_is_no_program_is_not_executed(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let output = execute(test, &[], &["/where.txt"])?.expect(1)?;
    let all = "runs WebAssembly with engine \"wasmtime\", and Linux programs";
    ensure!(output.stderr.contains(all), "{output:?}");
    test.remove()
}

fn a_killed_server_takes_executed_programs_along(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let mut program = start(test, "one", &["/spin.wasm"])?;
    program.wait_for("spinning")?;
    test.exec(&["sh", "-c", "kill -KILL $(pgrep -f '[t]rireme-shim server')"])?
        .expect(0)?;
    let output = program.finish(LIMIT)?;
    ensure!(output.code != 0, "{output:?}");
    clear_streams(test)?;
    test.exec(&["ctr", "container", "delete", &test.id])?;
    test.next_container_runs()
}

fn any_function_of_a_module_can_be_executed(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let output = execute(test, &[], &["/tiny.wasm#other"])?.expect(0)?;
    ensure!(
        output.stdout.is_empty() && output.stderr == "tiny\n",
        "{output:?}"
    );
    let output = execute(test, &[], &["/tiny.wasm#mutiny"])?;
    let reason = "no exported function \"mutiny\"";
    ensure!(
        output.code != 0 && output.stderr.contains(reason),
        "{output:?}"
    );
    test.remove()
}
