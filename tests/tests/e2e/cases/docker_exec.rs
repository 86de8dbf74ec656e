//! `docker exec`: the same output, codes and settings as with runc.

use anyhow::{Result, ensure};

use super::cases;
use crate::command::{LIMIT, Output};
use crate::test::Test;

cases! {
    needs: Docker,
    as_with_runc: [
        docker_exec_tells_output_and_code,
        docker_exec_takes_environment_folder_and_user,
        docker_exec_passes_stdin_to_its_end,
        docker_exec_gives_a_terminal,
        docker_exec_goes_on_without_its_client,
        docker_exec_errors_have_the_codes_of_runc,
        docker_exec_runs_a_shell_as_in_any_container,
        docker_exec_gives_a_shell_a_terminal,
        docker_finds_a_container_healthy_by_its_shell,
    ],
    wasm: [],
}

fn sleeping(test: &Test<'_>) -> Result<()> {
    test.docker_run(&["--detach"], &["/sleep.wasm", "60"])?
        .expect(0)?;
    Ok(())
}

fn execute(test: &Test<'_>, flags: &[&str], program: &[&str]) -> Result<Output> {
    let words = [&["docker", "exec"], flags, &[&test.id], program].concat();
    test.exec(&words)
}

fn docker_exec_tells_output_and_code(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let output = execute(test, &[], &["/args.wasm", "a", "b c"])?.expect(0)?;
    ensure!(output.stdout == "/args.wasm\na\nb c\n", "{output:?}");
    execute(test, &[], &["/exit.wasm", "7"])?.expect(7)?;
    Ok(())
}

fn docker_exec_takes_environment_folder_and_user(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let output = execute(test, &["--env", "COLOUR=red"], &["/env.wasm"])?.expect(0)?;
    ensure!(output.stdout.contains("COLOUR=red\n"), "{output:?}");
    let output = execute(test, &["--workdir", "/work"], &["/cwd.wasm"])?.expect(0)?;
    ensure!(
        output.stdout.ends_with("in the work folder\n"),
        "{output:?}"
    );
    let program = ["/sleep.wasm", "60"];
    execute(test, &["--detach", "--user", "123:45"], &program)?.expect(0)?;
    // Only a program that has begun has its user.
    let script = format!(
        "for _ in $(seq 300); do\n\
         for pid in $(docker top {} -eo pid | tail -n +2); do\n\
         grep -q '^Uid:.123.123' /proc/$pid/status && grep '^Gid:.45.45' /proc/$pid/status && exit\n\
         done\n\
         sleep 0.1\n\
         done\n\
         exit 1",
        test.id
    );
    test.exec(&["sh", "-c", &script])?.expect(0)?;
    Ok(())
}

fn docker_exec_passes_stdin_to_its_end(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let words = ["docker", "exec", "--interactive", &test.id, "/cat.wasm"];
    let mut running = test.start(&words)?;
    running.write("one line\n")?;
    running.wait_for("one line\n")?;
    running.close_stdin();
    let output = running.finish(LIMIT)?.expect(0)?;
    ensure!(
        output.stderr.contains("end of input after 9 bytes"),
        "{output:?}"
    );
    Ok(())
}

fn docker_exec_gives_a_terminal(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let line = format!("docker exec --interactive --tty {} /isatty.wasm", test.id);
    let output = test
        .exec(&["script", "-qec", &line, "/dev/null"])?
        .expect(0)?;
    for stream in 0..3 {
        let told = format!("{stream} terminal");
        ensure!(output.stdout.contains(&told), "{output:?}");
    }
    Ok(())
}

fn docker_exec_goes_on_without_its_client(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    execute(test, &["--detach"], &["/sleep.wasm", "60"])?.expect(0)?;
    let script = format!(
        "for _ in $(seq 300); do\n\
         [ $(docker top {} -eo pid | wc -l) = 3 ] && exit\n\
         sleep 0.1\n\
         done\n\
         exit 1",
        test.id
    );
    test.exec(&["sh", "-c", &script])?.expect(0)?;
    test.docker(&["kill", &test.id])?;
    test.wait_for_inspect("{{.State.Status}} {{.State.ExitCode}}", "exited 137")
}

fn docker_exec_errors_have_the_codes_of_runc(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let version = test.docker(&["version", "--format", "{{.Server.Version}}"])?;
    // Docker 26 does not look for why an exec failed.
    let not_there = if version.starts_with("26.") { 126 } else { 127 };
    execute(test, &[], &["/nowhere.wasm"])?.expect(not_there)?;
    execute(test, &[], &["/work"])?.expect(126)?;
    execute(test, &[], &["/hello.wasm"])?.expect(0)?;
    Ok(())
}

fn docker_exec_runs_a_shell_as_in_any_container(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let script = "echo $0; cat /proc/self/status; cat /etc/hostname; ls /dev; exit 7";
    let shell = ["/bin/sh", "-c", script, "ahoy"];
    let output = execute(test, &["--user", "123:45"], &shell)?.expect(7)?;
    let hostname = test.inspect("{{.Config.Hostname}}")?;
    for line in [
        "ahoy",
        "Uid:\t123\t123\t123\t123",
        "Gid:\t45\t45\t45\t45",
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
        "Seccomp:\t2",
        &hostname,
        "urandom",
    ] {
        ensure!(
            output.stdout.contains(&format!("{line}\n")),
            "{line}: {output:?}"
        );
    }
    // What the profile of Docker refuses, and what it is to be for one that asks for all.
    let unshare = ["busybox", "unshare", "-m", "/bin/true"];
    let refused = execute(test, &[], &unshare)?.expect(1)?;
    ensure!(
        refused.stderr.contains("Operation not permitted"),
        "{refused:?}"
    );
    let status = ["/bin/cat", "/proc/self/status"];
    let all = execute(test, &["--privileged"], &status)?.expect(0)?;
    ensure!(!all.stdout.contains("CapEff:\t00000000a80425fb"), "{all:?}");
    Ok(())
}

fn docker_exec_gives_a_shell_a_terminal(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let line = format!("docker exec --interactive --tty {} /bin/sh", test.id);
    let mut shell = test.start(&["script", "-qec", &line, "/dev/null"])?;
    shell.wait_for("# ")?;
    shell.write("busybox tty; echo $((6 * 7))\n")?;
    shell.wait_for("\n42")?;
    shell.write("exit 7\n")?;
    let output = shell.finish(LIMIT)?.expect(7)?;
    ensure!(output.stdout.contains("/dev/pts/0"), "{output:?}");
    Ok(())
}

fn docker_finds_a_container_healthy_by_its_shell(test: &Test<'_>) -> Result<()> {
    let flags = [
        "--detach",
        "--health-cmd",
        "cat /where.txt && echo $((6 * 7))",
        "--health-interval",
        "1s",
    ];
    test.docker_run(&flags, &["/sleep.wasm", "60"])?.expect(0)?;
    test.wait_for_inspect("{{.State.Health.Status}}", "healthy")?;
    let said = test.inspect("{{(index .State.Health.Log 0).Output}}")?;
    ensure!(said.contains("in the root folder\n42"), "{said}");
    Ok(())
}
