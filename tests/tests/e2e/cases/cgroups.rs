//! What is of cgroup v2 and of systemd.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{cases, docker};
use crate::command::LIMIT;
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Cgroup2,
    as_with_runc: [
        a_linux_program_opens_devices_that_are_allowed_alone,
        a_name_of_systemds_is_a_scope,
        docker_with_systemds_driver_leaves_no_scope,
    ],
    wasm: [],
}

const LINUX: &str = "trireme.test/native:latest";
/// A device of the host that no container is given by itself, with its numbers.
const DISK: (&str, &str) = ("/dev/nvme0n1", "259 0");

/// What a shell in a container with this case's runtime prints.
fn shell(test: &Test<'_>, flags: &[&str], script: &str) -> Result<String> {
    let start = ["ctr", "run", "--rm", "--runtime", test.mode.runtime()];
    let program = [LINUX, &test.id, "/bin/sh", "-c", script];
    let output = test.exec(&[&start, flags, &program].concat())?;
    Ok(output.expect(0)?.stdout)
}

fn a_linux_program_opens_devices_that_are_allowed_alone(test: &Test<'_>) -> Result<()> {
    let (disk, numbers) = DISK;
    let script = format!(
        "mknod /disk b {numbers}; mknod /null c 1 3\n\
         for file in /disk /null; do head -c 1 $file 2>&1 >/dev/null && echo $file opens; done; true"
    );
    let said = shell(test, &[], &script)?;
    ensure!(
        said.contains("/disk: Operation not permitted") && said.ends_with("/null opens\n"),
        "{said}"
    );
    let said = shell(
        test,
        &["--device", disk],
        &format!("head -c 1 {disk} | wc -c"),
    )?;
    ensure!(said.trim() == "1", "{said}");
    Ok(())
}

/// What a shell in the host prints.
fn on_host(test: &Test<'_>, script: &str) -> Result<String> {
    Ok(test.exec(&["sh", "-ec", script])?.expect(0)?.stdout)
}

/// The systemd units of containers that there are.
fn scopes(test: &Test<'_>) -> Result<String> {
    let all =
        "systemctl list-units --all --plain --no-legend --type=scope | grep -v ^init.scope || true";
    on_host(test, all)
}

fn a_name_of_systemds_is_a_scope(test: &Test<'_>) -> Result<()> {
    let cgroup = format!("machine-e2e.slice:ctr:{}", test.id);
    // runc takes such a name only where it is told to.
    let told = "--runc-systemd-cgroup";
    let flags = ["--memory-limit", "67108864", "--cgroup", &cgroup, told];
    let flags = if test.mode == Mode::Runc {
        &flags[..]
    } else {
        &flags[..4]
    };
    test.run_detached(flags, &["/sleep.wasm", "600"])?;
    let (pid, _) = test.task()?;
    let scope = format!("machine.slice/machine-e2e.slice/ctr-{}.scope", test.id);
    let seen = on_host(test, &format!("cat /proc/{pid}/cgroup"))?;
    ensure!(seen == format!("0::/{scope}\n"), "{seen}");
    // systemd sets again what it has been told, when it is reloaded.
    let limit = on_host(
        test,
        &format!("systemctl daemon-reload; cat /sys/fs/cgroup/{scope}/memory.max"),
    )?;
    ensure!(limit == "67108864\n", "{limit}");
    let seen = scopes(test)?;
    ensure!(seen.contains(&format!("ctr-{}.scope", test.id)), "{seen}");
    test.remove()?;
    no_scope_is_left(test)
}

fn docker_with_systemds_driver_leaves_no_scope(test: &Test<'_>) -> Result<()> {
    let driver = test.docker(&["info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}}"])?;
    ensure!(driver == "systemd 2", "{driver}");
    docker::detached(test, &[], &["/sleep.wasm", "600"])?;
    let seen = scopes(test)?;
    ensure!(seen.starts_with("docker-"), "{seen}");
    test.docker(&["restart", "--time", "0", &test.id])?;
    test.wait_for_inspect("{{.State.Status}}", "running")?;
    docker::remove(test)?;
    no_scope_is_left(test)
}

fn no_scope_is_left(test: &Test<'_>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = scopes(test)?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{left}");
    }
}
