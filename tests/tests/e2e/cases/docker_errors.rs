//! `docker`: what cannot be run, with the codes and words that users know.

use anyhow::{Result, ensure};

use super::cases;
use super::docker::{detached, remove};
use crate::mode::handler;
use crate::test::Test;

cases! {
    needs: Docker,
    as_with_runc: [
        docker_errors_have_the_codes_of_runc,
    ],
    wasm: [
        docker_names_what_is_no_wasm,
        docker_finds_a_guest_unhealthy_whose_check_cannot_run,
    ],
}

/// What cannot be found is 127, what may not be run is 126, the rest 125; see `docker run` on
/// exit status.
fn docker_errors_have_the_codes_of_runc(test: &Test<'_>) -> Result<()> {
    test.exec(&["touch", "/run/empty"])?.expect(0)?;
    for (guest, code, why) in [
        ("/nothing.wasm", 127, "no such file or directory"),
        ("nothing", 127, "executable file not found in $PATH"),
        ("/etc", 126, "is a directory"),
        ("/where.txt", 126, "permission denied"),
        ("/dev/null", 126, "permission denied"),
        ("/run/empty", 126, "permission denied"),
        ("/where.txt/below", 125, "not a directory"),
        ("/links/loop", 125, "too many levels of symbolic links"),
    ] {
        let output = test
            .docker_run(&["--rm", "-v", "/run/empty:/run/empty"], &[guest])?
            .expect(code)?;
        ensure!(
            output.stderr.contains(guest) && output.stderr.contains(why),
            "{output:?}"
        );
    }
    let flags = ["--rm", "-v", "/etc/hostname:/work"];
    let output = test.docker_run(&flags, &["/hello.wasm"])?.expect(125)?;
    ensure!(output.stderr.contains("/work"), "{output:?}");
    ensure!(
        output.stderr.to_lowercase().contains("not a directory"),
        "{output:?}"
    );
    Ok(())
}

/// Handler, engine, what the file is, and what to do.
fn docker_names_what_is_no_wasm(test: &Test<'_>) -> Result<()> {
    let words = [
        "/sbin/docker-init: a Linux executable".to_owned(),
        "without --init".to_owned(),
        format!("handler \"{}\"", handler(test.mode.runtime())),
        "engine \"wasmtime\"".to_owned(),
    ];
    let output = test
        .docker_run(&["--rm", "--init"], &["/hello.wasm"])?
        .expect(125)?;
    for word in &words {
        ensure!(output.stderr.contains(word), "no `{word}`: {output:?}");
    }
    Ok(())
}

/// A health check is a line for a shell, which these images lack.
fn docker_finds_a_guest_unhealthy_whose_check_cannot_run(test: &Test<'_>) -> Result<()> {
    let flags = [
        "--health-cmd=/hello.wasm",
        "--health-retries=1",
        "--health-interval=100ms",
    ];
    detached(test, &flags, &["/sleep.wasm", "60"])?;
    test.wait_for_inspect(
        "{{.State.Status}} {{.State.Health.Status}}",
        "running unhealthy",
    )?;
    let output = test.inspect("{{(index .State.Health.Log 0).Output}}")?;
    // A shell takes WebAssembly for a script.
    ensure!(output.contains("/hello.wasm"), "{output}");
    remove(test)
}
