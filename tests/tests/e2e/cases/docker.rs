//! `docker`: the same commands, codes and states as with runc.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cases;
use super::limit::Limit;
use crate::command::LIMIT;
use crate::test::Test;

/// How long `docker run` of a guest that ends at once, or was told to end, may take.
const SOON: Duration = Duration::from_secs(10);

cases! {
    needs: Docker,
    as_with_runc: [
        docker_passes_environment_and_working_directory,
        docker_gives_a_terminal,
        docker_runs_as_the_user_asked_for,
        docker_mounts_folders,
        docker_mounts_the_root_read_only,
        docker_ends_a_guest_beyond_its_memory,
        docker_limits_reach_the_cgroup,
        docker_updates_limits,
        docker_wait_tells_the_code,
        docker_pauses_and_resumes,
        docker_top_lists_the_guest,
        docker_stats_count_memory,
        docker_restarts_a_guest,
        docker_restarts_by_policy,
        docker_runs_without_a_network,
    ],
    wasm: [],
    on_each_engine: {
        as_with_runc: [
            docker_exit_codes_are_the_guests_own,
            docker_passes_stdin_to_its_end,
            docker_copies_in_and_out,
            docker_kill_ends_a_guest,
            docker_run_ends_with_its_guest,
        ],
        wasm: [
            docker_runs_every_platform_of_an_image,
            docker_stop_ends_a_guest_at_once,
        ],
    },
}

fn docker_runs_every_platform_of_an_image(test: &Test<'_>) -> Result<()> {
    for (platform, tag) in [
        ("wasi/wasm", "wasi-wasm"),
        ("wasi/wasm32", "wasi-wasm32"),
        ("linux/amd64", "linux-amd64"),
    ] {
        let image = format!("trireme.test/hello:{tag}");
        let words = ["docker", "run", "--rm", "--runtime", test.mode.runtime()];
        let output = test
            .start(&[&words[..], &["--platform", platform, &image]].concat())?
            .finish(SOON)?
            .expect(0)?;
        ensure!(
            output.stdout == "hello from the guest\n" && output.stderr.is_empty(),
            "{output:?}"
        );
    }
    Ok(())
}

fn docker_exit_codes_are_the_guests_own(test: &Test<'_>) -> Result<()> {
    for code in [0, 1, 7, 255] {
        test.docker_run(&["--rm"], &["/exit.wasm", &code.to_string()])?
            .expect(code)?;
    }
    Ok(())
}

/// Also where the client could still read, as on a terminal.
fn docker_run_ends_with_its_guest(test: &Test<'_>) -> Result<()> {
    let guest = ["/exit.wasm", "3"];
    let words = test.docker_words(&["--rm", "-i"], &guest);
    test.start(&words)?.finish(SOON)?.expect(3)?;
    let words = test.docker_words(&["--rm", "-i", "-t"], &guest).join(" ");
    let on_terminal = test.start(&["script", "-qec", &words, "/dev/null"])?;
    on_terminal.finish(SOON)?.expect(3)?;
    Ok(())
}

fn docker_passes_environment_and_working_directory(test: &Test<'_>) -> Result<()> {
    let output = test
        .docker_run(&["--rm", "-e", "PORT=Piraeus"], &["/env.wasm"])?
        .expect(0)?;
    ensure!(
        output.stdout.lines().any(|line| line == "PORT=Piraeus"),
        "{output:?}"
    );
    let output = test
        .docker_run(&["--rm", "-w", "/work"], &["/cwd.wasm"])?
        .expect(0)?;
    ensure!(
        output.stdout.ends_with("in the work folder\n"),
        "{output:?}"
    );
    Ok(())
}

fn docker_passes_stdin_to_its_end(test: &Test<'_>) -> Result<()> {
    let text = "a line of input\n".repeat(5_000);
    let mut guest = test.start(&test.docker_words(&["--rm", "-i"], &["/cat.wasm"]))?;
    guest.write(&text)?;
    guest.close_stdin();
    let output = guest.finish(LIMIT)?.expect(0)?;
    ensure!(
        output.stdout == text,
        "{} of {} bytes came back",
        output.stdout.len(),
        text.len()
    );
    Ok(())
}

fn docker_gives_a_terminal(test: &Test<'_>) -> Result<()> {
    let words = test.docker_words(&["--rm", "-t"], &["/isatty.wasm"]);
    let output = test
        .exec(&["script", "-qec", &words.join(" "), "/dev/null"])?
        .expect(0)?;
    for line in ["0 terminal", "1 terminal", "2 terminal"] {
        ensure!(output.stdout.contains(line), "{output:?}");
    }
    let words = test.docker_words(&["--rm", "-i", "-t"], &["/cat.wasm"]);
    let mut typed = test.start(&["script", "-qec", &words.join(" "), "/dev/null"])?;
    // By then the client leaves what is typed to the terminal of the container.
    let deadline = Instant::now() + LIMIT;
    while test.inspect("{{.State.Running}}").ok().as_deref() != Some("true") {
        ensure!(Instant::now() < deadline, "it does not run");
    }
    typed.write("ahoy\n")?;
    typed.wait_for("ahoy\r\nahoy\r\n")?;
    // The end of input, as a user types it.
    typed.write("\x04")?;
    typed.finish(SOON)?.expect(0)?;
    Ok(())
}

fn docker_runs_as_the_user_asked_for(test: &Test<'_>) -> Result<()> {
    for user in ["1000:1000", "sailor"] {
        detached(test, &["--user", user], &["/sleep.wasm", "60"])?;
        let status = format!("/proc/{}/status", test.inspect("{{.State.Pid}}")?);
        let status = test
            .exec(&["grep", "-E", "^(Uid|Gid):", &status])?
            .expect(0)?;
        let expected = "Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n";
        ensure!(status.stdout == expected, "{status:?}");
        remove(test)?;
    }
    Ok(())
}

fn docker_mounts_folders(test: &Test<'_>) -> Result<()> {
    let folder = format!("/run/folder-of-{}", test.id);
    let make = format!("mkdir {folder}; echo cargo > {folder}/hold");
    test.exec(&["sh", "-ec", &make])?.expect(0)?;
    let guest = ["/files.wasm", "read:/mnt/one/hold", "write:/mnt/one/more"];
    let volume = format!("{folder}:/mnt/one:ro");
    let read_only = test.docker_run(&["--rm", "-v", &volume], &guest);
    let volume = format!("{folder}:/mnt/one");
    let writable = test.docker_run(&["--rm", "-v", &volume], &guest);
    let after = test.exec(&["sh", "-ec", &format!("ls {folder}; rm -r {folder}")])?;
    let (read_only, writable) = (read_only?.expect(0)?, writable?.expect(0)?);
    ensure!(
        read_only
            .stdout
            .starts_with("read /mnt/one/hold: ok cargo\nwrite /mnt/one/more: E"),
        "{read_only:?}"
    );
    ensure!(
        writable.stdout == "read /mnt/one/hold: ok cargo\nwrite /mnt/one/more: ok\n",
        "{writable:?}"
    );
    ensure!(after.stdout == "hold\nmore\n", "{after:?}");
    Ok(())
}

fn docker_mounts_the_root_read_only(test: &Test<'_>) -> Result<()> {
    let guest = ["/files.wasm", "read:/where.txt", "write:/new.txt"];
    let output = test
        .docker_run(&["--rm", "--read-only"], &guest)?
        .expect(0)?;
    ensure!(
        output
            .stdout
            .starts_with("read /where.txt: ok in the root folder\nwrite /new.txt: E"),
        "{output:?}"
    );
    Ok(())
}

fn docker_ends_a_guest_beyond_its_memory(test: &Test<'_>) -> Result<()> {
    let output = test
        .docker_run(&["--memory", "64m"], &["/grow.wasm", "256"])?
        .expect(137)?;
    ensure!(!output.stdout.contains("96 MiB"), "{output:?}");
    test.wait_for_inspect(
        "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}",
        "exited 137 true",
    )?;
    remove(test)
}

/// That the guest's cgroup has limits.
fn are_set(test: &Test<'_>, limits: &[Limit]) -> Result<()> {
    let pid = test.inspect("{{.State.Pid}}")?;
    limits
        .iter()
        .try_for_each(|limit| limit.expect_set(test, &pid))
}

fn docker_limits_reach_the_cgroup(test: &Test<'_>) -> Result<()> {
    let flags = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "50"];
    detached(test, &flags, &["/sleep.wasm", "60"])?;
    let limits = [
        Limit::memory(64 << 20),
        Limit::processor(50_000),
        Limit::pids(50),
    ];
    are_set(test, &limits)?;
    remove(test)
}

fn docker_updates_limits(test: &Test<'_>) -> Result<()> {
    detached(test, &["--memory", "64m"], &["/sleep.wasm", "60"])?;
    let flags = [
        "update",
        "--memory",
        "128m",
        "--memory-swap",
        "256m",
        "--cpus",
        "0.25",
    ];
    test.docker(&[&flags[..], &[&test.id]].concat())?;
    are_set(test, &[Limit::memory(128 << 20), Limit::processor(25_000)])?;
    remove(test)
}

fn docker_stop_ends_a_guest_at_once(test: &Test<'_>) -> Result<()> {
    detached(test, &[], &["/sleep.wasm", "60"])?;
    let before = Instant::now();
    test.docker(&["stop", "--time", "30", &test.id])?;
    let took = before.elapsed();
    ensure!(took < SOON, "docker stop took {took:?}");
    let state = test.inspect("{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}")?;
    ensure!(state == "exited 143 0", "{state}");
    remove(test)
}

fn docker_kill_ends_a_guest(test: &Test<'_>) -> Result<()> {
    detached(test, &[], &["/spin.wasm"])?;
    test.docker(&["kill", &test.id])?;
    test.wait_for_inspect(
        "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}",
        "exited 137 false",
    )?;
    let again = test.exec(&["docker", "kill", &test.id])?.expect(1)?;
    ensure!(again.stderr.contains("is not running"), "{again:?}");
    remove(test)
}

fn docker_wait_tells_the_code(test: &Test<'_>) -> Result<()> {
    detached(test, &[], &["/sleep.wasm", "1", "9"])?;
    let code = test.docker(&["wait", &test.id])?;
    ensure!(code == "9", "{code}");
    let state = test.inspect("{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}")?;
    ensure!(state == "exited 9 false", "{state}");
    remove(test)
}

fn docker_pauses_and_resumes(test: &Test<'_>) -> Result<()> {
    detached(test, &[], &["/tick.wasm"])?;
    test.docker(&["pause", &test.id])?;
    let state = test.inspect("{{.State.Status}}")?;
    ensure!(state == "paused", "{state}");
    let count = |test: &Test<'_>| Ok::<_, anyhow::Error>(test.docker(&["logs", &test.id])?.len());
    // What was on its way when it was paused has arrived once two looks agree.
    let mut seen = count(test)?;
    let deadline = Instant::now() + LIMIT;
    while count(test)? != seen {
        ensure!(Instant::now() < deadline, "a paused guest goes on");
        seen = count(test)?;
    }
    test.docker(&["unpause", &test.id])?;
    while count(test)? == seen {
        ensure!(Instant::now() < deadline, "a resumed guest does nothing");
    }
    let state = test.inspect("{{.State.Status}}")?;
    ensure!(state == "running", "{state}");
    remove(test)
}

fn docker_top_lists_the_guest(test: &Test<'_>) -> Result<()> {
    detached(test, &[], &["/sleep.wasm", "60"])?;
    let pid = test.inspect("{{.State.Pid}}")?;
    let top = test.docker(&["top", &test.id, "-o", "pid,comm"])?;
    let lines: Vec<_> = top.lines().skip(1).collect();
    ensure!(
        lines.len() == 1 && lines[0].split_whitespace().next() == Some(&pid),
        "{pid} is not alone in\n{top}"
    );
    remove(test)
}

fn docker_stats_count_memory(test: &Test<'_>) -> Result<()> {
    detached(test, &["--memory", "256m"], &["/sleep.wasm", "60"])?;
    let format = "{{.Name}} {{.MemUsage}} {{.PIDs}}";
    let stats = test.docker(&["stats", "--no-stream", "--format", format, &test.id])?;
    let words: Vec<_> = stats.split_whitespace().collect();
    ensure!(
        words.len() == 5
            && words[0] == test.id
            && !words[1].starts_with("0B")
            && words[3] == "256MiB"
            && words[4] != "0",
        "{stats}"
    );
    remove(test)
}

fn docker_copies_in_and_out(test: &Test<'_>) -> Result<()> {
    let guest = ["/files.wasm", "read:/work/cargo", "write:/work/out"];
    let words = test.docker_words(&[], &guest);
    let words: Vec<_> = words
        .iter()
        .map(|word| if *word == "run" { "create" } else { word })
        .collect();
    test.exec(&words)?.expect(0)?;
    let folder = format!("/run/copies-of-{}", test.id);
    let script = format!(
        "mkdir {folder}; echo figs > {folder}/cargo\n\
         docker cp {folder}/cargo {id}:/work/cargo >/dev/null\n\
         docker start --attach {id}\n\
         docker cp {id}:/work/out {folder}/out >/dev/null\n\
         cat {folder}/out; rm -r {folder}",
        id = test.id
    );
    let output = test.exec(&["sh", "-ec", &script])?.expect(0)?;
    ensure!(
        output.stdout == "read /work/cargo: ok figs\nwrite /work/out: ok\nwritten by the guest\n",
        "{output:?}"
    );
    remove(test)
}

fn docker_restarts_a_guest(test: &Test<'_>) -> Result<()> {
    detached(test, &[], &["/sleep.wasm", "60"])?;
    let before = test.inspect("{{.State.Pid}}")?;
    test.docker(&["restart", "--time", "1", &test.id])?;
    let after = test.inspect("{{.State.Status}} {{.State.Pid}}")?;
    let (status, pid) = after.split_once(' ').context("two words")?;
    ensure!(
        status == "running" && pid != before && pid != "0",
        "{before}, then {after}"
    );
    let logs = test.docker(&["logs", &test.id])?;
    ensure!(logs.matches("sleeping").count() >= 1, "{logs}");
    remove(test)
}

fn docker_restarts_by_policy(test: &Test<'_>) -> Result<()> {
    detached(test, &["--restart", "on-failure:2"], &["/exit.wasm", "3"])?;
    test.wait_for_inspect(
        "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}",
        "exited 2 3",
    )?;
    remove(test)
}

fn docker_runs_without_a_network(test: &Test<'_>) -> Result<()> {
    detached(test, &["--network", "none"], &["/sleep.wasm", "60"])?;
    let devices = format!("/proc/{}/net/dev", test.inspect("{{.State.Pid}}")?);
    let devices = test.exec(&["cat", &devices])?.expect(0)?;
    let names: Vec<_> = devices
        .stdout
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect();
    ensure!(
        !names.iter().any(|name| name.starts_with("eth")),
        "{names:?}"
    );
    remove(test)
}

/// `docker run -d`.
/// `docker run -d`.
pub fn detached(test: &Test<'_>, flags: &[&str], guest: &[&str]) -> Result<()> {
    test.docker_run(&[&["-d"], flags].concat(), guest)?
        .expect(0)?;
    Ok(())
}

/// `docker rm --force`.
pub fn remove(test: &Test<'_>) -> Result<()> {
    test.docker(&["rm", "--force", &test.id])?;
    Ok(())
}
