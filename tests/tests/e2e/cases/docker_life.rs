//! `docker`: a container's life from create to rm, as its commands and its logs tell it.

use anyhow::{Result, ensure};

use super::cases;
use super::docker::{detached, remove};
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    needs: Docker,
    as_with_runc: [
        docker_log_drivers_keep_logs,
        docker_attach_carries_the_streams,
        docker_starts_attached_to_the_end_of_input,
        docker_always_restarts_a_guest,
        docker_finds_and_renames_containers,
        docker_tells_changes_and_commits_them,
        docker_events_tell_a_life,
    ],
    wasm: [
        docker_signals_end_a_guest,
    ],
    on_each_engine: {
        as_with_runc: [
            docker_keeps_logs,
        ],
        wasm: [],
    },
}

fn docker_keeps_logs(test: &Test<'_>) -> Result<()> {
    test.docker_run(&[], &["/streams.wasm"])?.expect(0)?;
    let logs = test.exec(&["docker", "logs", &test.id])?.expect(0)?;
    ensure!(
        logs.stdout == "to stdout\n" && logs.stderr == "to stderr\n",
        "{logs:?}"
    );
    remove(test)
}

fn docker_log_drivers_keep_logs(test: &Test<'_>) -> Result<()> {
    for driver in ["json-file", "local"] {
        detached(test, &["--log-driver", driver], &["/tick.wasm"])?;
        let mut follow = test.start(&["docker", "logs", "--follow", "--since", "1m", &test.id])?;
        follow.wait_for("\n3\n")?;
        test.docker(&["kill", &test.id])?;
        let followed = follow.finish(LIMIT)?.expect(0)?.stdout;
        let whole = test.docker(&["logs", &test.id])?;
        ensure!(
            followed.starts_with("0\n1\n2\n3\n") && followed.trim_end() == whole,
            "{driver}: {followed}\nis not\n{whole}"
        );
        let last = whole.lines().last().unwrap_or_default();
        let tail = test.docker(&["logs", "--tail", "1", "--timestamps", &test.id])?;
        ensure!(
            tail.starts_with("20") && tail.ends_with(&format!("Z {last}")),
            "{driver}: {tail}"
        );
        remove(test)?;
    }
    Ok(())
}

fn docker_attach_carries_the_streams(test: &Test<'_>) -> Result<()> {
    detached(test, &["--interactive"], &["/cat.wasm"])?;
    let mut attached = test.start(&["docker", "attach", &test.id])?;
    attached.write("from the quay\n")?;
    attached.wait_for("from the quay\n")?;
    test.docker(&["kill", &test.id])?;
    let output = attached.finish(LIMIT)?.expect(137)?;
    ensure!(output.stdout == "from the quay\n", "{output:?}");
    remove(test)
}

/// The input of a container that was not made to run detached ends with its client's.
fn docker_starts_attached_to_the_end_of_input(test: &Test<'_>) -> Result<()> {
    let words = test.docker_words(&["--interactive"], &["/cat.wasm"]);
    test.docker(&[&["create"], &words[2..]].concat())?;
    let start = ["docker", "start", "--attach", "--interactive", &test.id];
    let mut attached = test.start(&start)?;
    attached.write("from the quay\n")?;
    attached.wait_for("from the quay\n")?;
    attached.close_stdin();
    let output = attached.finish(LIMIT)?.expect(0)?;
    ensure!(output.stdout == "from the quay\n", "{output:?}");
    ensure!(
        output.stderr == "end of input after 14 bytes\n",
        "{output:?}"
    );
    remove(test)
}

fn docker_always_restarts_a_guest(test: &Test<'_>) -> Result<()> {
    detached(
        test,
        &["--restart", "unless-stopped"],
        &["/sleep.wasm", "60"],
    )?;
    test.docker(&["stop", "--time", "1", &test.id])?;
    let state = test.inspect("{{.State.Status}} {{.RestartCount}}")?;
    ensure!(state == "exited 0", "{state}");
    remove(test)?;
    detached(test, &["--restart", "always"], &["/exit.wasm", "0"])?;
    test.wait_for_inspect("{{ge .RestartCount 2}}", "true")?;
    remove(test)
}

fn docker_finds_and_renames_containers(test: &Test<'_>) -> Result<()> {
    let label = format!("of={}", test.id);
    detached(test, &["--label", &label], &["/sleep.wasm", "60"])?;
    let name = format!("{}-renamed", test.id);
    test.docker(&["rename", &test.id, &name])?;
    let label = format!("label={label}");
    let found = |status: &str| {
        let status = format!("status={status}");
        let format = [
            "--format",
            "{{.Names}} {{.State}} {{.Command}}",
            "--no-trunc",
        ];
        let filters = ["ps", "--all", "--filter", &label, "--filter", &status];
        test.docker(&[&filters[..], &format].concat())
    };
    let running = found("running")?;
    ensure!(
        running == format!("{name} running \"/sleep.wasm 60\""),
        "{running}"
    );
    test.docker(&["kill", &name])?;
    test.docker(&["wait", &name])?;
    let (running, exited) = (found("running")?, found("exited")?);
    ensure!(running.is_empty(), "{running}");
    ensure!(
        exited == format!("{name} exited \"/sleep.wasm 60\""),
        "{exited}"
    );
    test.docker(&["rm", &name])?;
    Ok(())
}

fn docker_tells_changes_and_commits_them(test: &Test<'_>) -> Result<()> {
    let guest = ["/files.wasm", "write:/new.txt"];
    test.docker_run(&[], &guest)?.expect(0)?;
    let changes = test.docker(&["diff", &test.id])?;
    ensure!(changes == "A /new.txt", "{changes}");
    let export = format!("docker export {} | tar --list | grep -x new.txt", test.id);
    test.exec(&["sh", "-ec", &export])?.expect(0)?;
    let image = format!("{}:snapshot", test.id);
    test.docker(&["commit", &test.id, &image])?;
    remove(test)?;
    let words = ["docker", "run", "--rm", "--runtime", test.mode.runtime()];
    let again = ["--entrypoint", "/files.wasm", &image, "read:/new.txt"];
    let output = test.exec(&[&words[..], &again].concat());
    test.docker(&["image", "rm", &image])?;
    let output = output?.expect(0)?;
    ensure!(
        output.stdout == "read /new.txt: ok written by the guest\n",
        "{output:?}"
    );
    Ok(())
}

fn docker_events_tell_a_life(test: &Test<'_>) -> Result<()> {
    let filter = format!("container={}", test.id);
    let format = "{{.Action}} {{.Actor.Attributes.exitCode}}";
    // A container of the same name may have lived a moment ago, in another mode.
    let now = test.exec(&["date", "+%s.%N"])?.expect(0)?.stdout;
    let words = [
        "docker",
        "events",
        "--since",
        now.trim(),
        "--filter",
        &filter,
    ];
    let mut events = test.start(&[&words[..], &["--format", format]].concat())?;
    test.docker_run(&["--rm"], &["/exit.wasm", "3"])?
        .expect(3)?;
    events.wait_for("destroy")?;
    let seen: String = events.seen().replace("<no value>", "");
    let seen: Vec<_> = seen.lines().map(str::trim).collect();
    ensure!(
        seen == ["create", "attach", "start", "die 3", "destroy"],
        "{seen:?}"
    );
    Ok(())
}

/// A guest handles no signal; a program of Linux as a container's first process is not even ended
/// by those that it does not handle.
fn docker_signals_end_a_guest(test: &Test<'_>) -> Result<()> {
    detached(test, &["--stop-signal", "USR1"], &["/sleep.wasm", "60"])?;
    let ends = |command: &[&str], code: &str| {
        test.docker(&[command, &[&test.id]].concat())?;
        test.wait_for_inspect("{{.State.Status}} {{.State.ExitCode}}", code)
    };
    ends(&["stop", "--time", "30"], "exited 138")?;
    test.docker(&["start", &test.id])?;
    ends(&["stop", "--signal", "INT", "--time", "30"], "exited 130")?;
    test.docker(&["start", &test.id])?;
    ends(&["kill", "--signal", "HUP"], "exited 129")?;
    remove(test)
}
