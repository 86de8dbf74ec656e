//! `ctr run -d` and `ctr task`: what can be done to a container that runs.

use anyhow::{Context, Result, ensure};

use super::cases;
use crate::command::LIMIT;
use crate::hosts::SECOND_NAMESPACE;
use crate::test::Test;

cases! {
    as_with_runc: [
        a_running_task_is_not_deleted,
        a_process_has_its_programs_name,
        an_unknown_task_is_not_found,
        two_namespaces_may_use_one_id,
        ten_at_a_time_run,
    ],
    wasm: [],
    on_each_engine: {
        as_with_runc: [
            a_detached_task_is_listed_with_its_pid,
            ps_tells_the_first_process,
            a_paused_task_stands_still_until_resumed,
            metrics_tell_memory_and_processor_time,
            attach_gets_the_output,
            a_killed_task_is_stopped_and_can_be_deleted,
            a_task_that_ended_by_itself_keeps_its_code,
        ],
        wasm: [],
    },
}

fn a_detached_task_is_listed_with_its_pid(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let (pid, status) = test.task()?;
    ensure!(status == "RUNNING", "{status}");
    test.exec(&["test", "-d", &format!("/proc/{pid}")])?
        .expect(0)?;
    test.remove()
}

fn ps_tells_the_first_process(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let (pid, _) = test.task()?;
    let list = test.ctr(&["task", "ps", &test.id])?;
    let pids: Vec<_> = list
        .stdout
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    ensure!(pids == [&pid], "the task's pid is {pid}: {list:?}");
    test.remove()
}

fn a_process_has_its_programs_name(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let (pid, _) = test.task()?;
    let name = test
        .exec(&["cat", &format!("/proc/{pid}/comm")])?
        .expect(0)?;
    ensure!(name.stdout == "sleep.wasm\n", "{name:?}");
    test.remove()
}

fn a_paused_task_stands_still_until_resumed(test: &Test<'_>) -> Result<()> {
    let mut guest = test.start_guest(&[], &["/tick.wasm"])?;
    guest.wait_for("\n3\n")?;
    test.ctr(&["task", "pause", &test.id])?;
    let (_, status) = test.task()?;
    ensure!(status == "PAUSED", "{status}");
    // What was on its way when the task was paused arrives while these commands run.
    test.ctr(&["version"])?;
    let seen = guest.seen();
    test.ctr(&["version"])?;
    ensure!(
        guest.seen() == seen,
        "went on while paused: {}",
        &guest.seen()[seen.len()..]
    );
    test.ctr(&["task", "resume", &test.id])?;
    let next = seen.lines().count() + 5;
    guest.wait_for(&format!("\n{next}\n"))?;
    test.ctr(&["task", "kill", "--signal", "SIGKILL", &test.id])?;
    guest.finish(LIMIT)?.expect(137)?;
    Ok(())
}

fn metrics_tell_memory_and_processor_time(test: &Test<'_>) -> Result<()> {
    let mut guest = test.start_guest(&["--memory-limit", "268435456"], &["/spin.wasm"])?;
    guest.wait_for("spinning")?;
    let metrics = test.ctr(&["task", "metrics", &test.id])?;
    let value = |name: &str| -> Result<u64> {
        let line = metrics
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse().ok())
            .with_context(|| format!("no {name}: {metrics:?}"))
    };
    let [usage, limit, time] = if test.is_on_cgroup2() {
        ["memory.usage", "memory.usage_limit", "cpu.usage_usec"]
    } else {
        [
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            "cpuacct.usage",
        ]
    };
    ensure!(value(usage)? > 0, "{metrics:?}");
    ensure!(value(limit)? == 268_435_456, "{metrics:?}");
    ensure!(value(time)? > 0, "{metrics:?}");
    test.ctr(&["task", "kill", "--signal", "SIGKILL", &test.id])?;
    guest.finish(LIMIT)?.expect(137)?;
    Ok(())
}

fn attach_gets_the_output(test: &Test<'_>) -> Result<()> {
    // With one client: of two that delete a task at once, containerd 1.6 and 1.7 leave one's runc
    // shim behind.
    test.exec(&test.run_words(&["-d"], &["/tick.wasm"]))?
        .expect(0)?;
    let mut client = test.start(&["ctr", "task", "attach", &test.id])?;
    client.wait_for("\n3\n")?;
    test.ctr(&["task", "kill", "--signal", "SIGKILL", &test.id])?;
    client.finish(LIMIT)?.expect(137)?;
    test.ctr(&["container", "delete", &test.id])?;
    Ok(())
}

fn a_killed_task_is_stopped_and_can_be_deleted(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    test.ctr(&["task", "kill", "--signal", "SIGKILL", &test.id])?;
    test.wait_for_status("STOPPED")?;
    let again = test
        .exec(&["ctr", "task", "kill", "--signal", "SIGKILL", &test.id])?
        .expect(1)?;
    // From version 2 on the words are the shim's own.
    let told = ["not found", "process already finished"];
    ensure!(
        told.iter().any(|words| again.stderr.contains(words)),
        "{again:?}"
    );
    let delete = test.ctr(&["task", "delete", &test.id])?;
    ensure!(delete.stderr.contains("exit code 137"), "{delete:?}");
    test.ctr(&["container", "delete", &test.id])?;
    Ok(())
}

fn a_task_that_ended_by_itself_keeps_its_code(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/exit.wasm", "7"])?;
    test.wait_for_status("STOPPED")?;
    let delete = test.ctr(&["task", "delete", &test.id])?;
    ensure!(delete.stderr.contains("exit code 7"), "{delete:?}");
    test.ctr(&["container", "delete", &test.id])?;
    Ok(())
}

fn a_running_task_is_not_deleted(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let output = test.exec(&["ctr", "task", "delete", &test.id])?.expect(1)?;
    ensure!(
        output.stderr.contains("must be stopped") || output.stderr.contains("running"),
        "{output:?}"
    );
    test.remove()
}

fn an_unknown_task_is_not_found(test: &Test<'_>) -> Result<()> {
    let output = test.exec(&["ctr", "task", "kill", "nobody"])?.expect(1)?;
    ensure!(output.stderr.contains("not found"), "{output:?}");
    Ok(())
}

fn two_namespaces_may_use_one_id(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let (first, _) = test.task()?;
    let (runtime, image) = (test.mode.runtime(), test.mode.image());
    let second = ["ctr", "-n", SECOND_NAMESPACE];
    let run = [
        "run",
        "-d",
        "--null-io",
        "--runtime",
        runtime,
        image,
        &test.id,
        "/sleep.wasm",
        "60",
    ];
    test.exec(&[&second[..], &run].concat())?.expect(0)?;
    test.exec(
        &[
            &second[..],
            &["task", "kill", "--signal", "SIGKILL", &test.id],
        ]
        .concat(),
    )?
    .expect(0)?;
    // Whoever waits for the exit there has it; the other goes on.
    test.exec(&[&second[..], &["task", "delete", "--force", &test.id]].concat())?;
    test.exec(&[&second[..], &["container", "delete", &test.id]].concat())?
        .expect(0)?;
    let (pid, status) = test.task()?;
    ensure!(
        pid == first && status == "RUNNING",
        "{pid} {status}, it was {first}"
    );
    test.remove()
}

fn ten_at_a_time_run(test: &Test<'_>) -> Result<()> {
    let (runtime, image) = (test.mode.runtime(), test.mode.image());
    let ids: Vec<_> = (0..10)
        .map(|number| format!("{}-{number}", test.id))
        .collect();
    let start = |id| {
        test.start(&[
            "ctr",
            "run",
            "--rm",
            "--runtime",
            runtime,
            image,
            id,
            "/args.wasm",
            id,
        ])
    };
    let guests = ids.iter().map(|id| start(id)).collect::<Result<Vec<_>>>()?;
    for (id, guest) in ids.iter().zip(guests) {
        let output = guest.finish(LIMIT)?.expect(0)?;
        ensure!(output.stdout == format!("/args.wasm\n{id}\n"), "{output:?}");
    }
    Ok(())
}
