//! What is of cgroup v2 and of systemd.

use anyhow::{Context, Result, ensure};

use super::accounts::is_counted;
use super::pods::faults::handler;
use super::pods::{Pod, crictl, pid_of};
use super::{cases, docker, wait_until};
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Cgroup2,
    as_with_runc: [
        a_linux_program_opens_devices_that_are_allowed_alone,
        a_name_of_systemds_is_a_scope,
        docker_with_systemds_driver_leaves_no_scope,
    ],
    wasm: [limits_of_containers_in_pods_hold_and_their_use_is_counted],
}

const LINUX: &str = "trireme.test/native:latest";
/// A device of the host that no container is given by itself, with its numbers.
const DISK: (&str, &str) = ("/dev/nvme0n1", "259 0");

/// A pod's configuration as the kubelet makes it with systemd's driver, in the network of the node,
/// since this host has no other.
pub const POD: &str = r#""linux": { "cgroup_parent": "kubepods-e2e.slice",
    "security_context": { "namespace_options": { "network": 2 } } }"#;
/// That of a container of such a pod, for Linux.
pub const IN_POD: &str =
    r#"{ "security_context": { "namespace_options": { "network": 2, "pid": 1 } } }"#;

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
    wait_until(|| {
        let left = scopes(test)?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

fn limits_of_containers_in_pods_hold_and_their_use_is_counted(test: &Test<'_>) -> Result<()> {
    const CONTAINER: &str = r#"{ "resources": { "memory_limit_in_bytes": 67108864,
        "cpu_quota": 20000, "cpu_period": 100000, "unified": { "pids.max": "7" } },
        "security_context": { "namespace_options": { "network": 2, "pid": 1 } } }"#;
    Pod::with_config(test, handler(test.mode.server()), POD, |pod| {
        let start = |name: &str, image: &str, command: &[&str]| {
            pod.start_with(name, image, command, CONTAINER)
        };
        let guests = test.mode.image();
        let greedy = start("greedy", guests, &["/grow.wasm", "256"])?;
        pod.ends(&greedy, 137)?;
        let reason = [
            "--output",
            "go-template",
            "--template",
            "{{.status.reason}}",
        ];
        wait_until(|| {
            let reason = crictl(test, &[&["inspect"], &reason[..], &[&greedy]].concat())?;
            ensure!(reason == "OOMKilled", "{reason}");
            Ok(())
        })?;
        for (name, image) in [("guest", guests), ("linux", Mode::Runc.image())] {
            let busy = start(name, image, &["/spin.wasm"])?;
            is_limited(test, &busy).with_context(|| name.to_owned())?;
            crictl(test, &["rm", "--force", &busy])?;
        }
        let forks = "for child in 1 2 3 4 5 6 7 8; do sleep 100 & done; exit 9";
        let forks = start("forks", Mode::Runc.image(), &["/bin/sh", "-c", forks])?;
        // The shell ends with this code where it cannot fork.
        pod.ends(&forks, 2)?;
        for (name, image) in [("steady", guests), ("steady-linux", Mode::Runc.image())] {
            let steady = start(name, image, &["/grow.wasm", "32", "1000"])?;
            is_counted(test, &steady, &format!("cri-containerd-{steady}.scope"))
                .with_context(|| name.to_owned())?;
        }
        Ok(())
    })?;
    no_scope_is_left(test)
}

/// The folder of a container's cgroup in the host.
fn scope_of(test: &Test<'_>, container: &str) -> Result<String> {
    let pid = pid_of(test, container)?;
    let seen = on_host(test, &format!("cat /proc/{pid}/cgroup"))?;
    Ok(seen.trim().replacen("0::", "/sys/fs/cgroup", 1))
}

/// That the cgroup of a container that works without end has the limits, and that they hold.
fn is_limited(test: &Test<'_>, container: &str) -> Result<()> {
    let scope = scope_of(test, container)?;
    let parent = "/sys/fs/cgroup/kubepods.slice/kubepods-e2e.slice";
    let wanted = format!("{parent}/cri-containerd-{container}.scope");
    ensure!(scope == wanted, "{scope}, not {wanted}");
    let limits = format!("cd {scope}; cat memory.max cpu.max pids.max");
    let limits = on_host(test, &limits)?;
    ensure!(limits == "67108864\n20000 100000\n7\n", "{limits}");
    wait_until(|| {
        let count = on_host(
            test,
            &format!("sed -n 's/^nr_throttled //p' {scope}/cpu.stat"),
        )?;
        ensure!(count.trim().parse::<u64>()? > 3, "throttled {count}");
        Ok(())
    })
}
