//! What is of systemd, and of cgroup v2.

use anyhow::{Context, Result, ensure};

use super::accounts::is_counted;
use super::exec::{clear_streams, wait_for_pids, words};
use super::limit::{Limit, file_of};
use super::pods::faults::handler;
use super::pods::{Pod, crictl, pid_of};
use super::{cases, docker, wait_until};
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Machine,
    as_with_runc: [
        a_linux_program_opens_devices_that_are_allowed_alone,
        a_name_of_systemds_is_a_scope,
        a_restart_of_containerd_by_systemd_ends_no_task,
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
    let scope = format!("/machine.slice/machine-e2e.slice/ctr-{}.scope", test.id);
    let places = |pid: &str| on_host(test, &format!("cut -d: -f2- /proc/{pid}/cgroup"));
    let seen = places(&pid)?;
    // What systemd knows processes by, and a controller that it leaves alone.
    let hierarchies: &[_] = match test.is_on_cgroup2() {
        true => &[""],
        false => &["", "name=systemd", "memory", "freezer"],
    };
    for hierarchy in hierarchies {
        let line = format!("{hierarchy}:{scope}");
        ensure!(seen.lines().any(|seen| seen == line), "no {line}: {seen}");
    }
    test.exec(&words(test, "one", &["--detach"], &["/sleep.wasm", "600"]))?
        .expect(0)?;
    // On v1 systemd takes the first process of runc 1.1 out of the hierarchy of devices, where that
    // then looks for it, and always finds such a unit changed on disk.
    let is_exact = test.mode != Mode::Runc || test.is_on_cgroup2();
    if is_exact {
        for pid in wait_for_pids(test, 2)? {
            let its = places(&pid)?;
            ensure!(its == seen, "{its}, not {seen}");
        }
    }
    // systemd sets again what it has been told, when it is reloaded; untold, it allows all devices.
    // It does so after it has said that it is, and before it says anything else.
    on_host(test, "systemctl daemon-reload")?;
    let unit = format!("ctr-{}.scope", test.id);
    let stale = on_host(test, &format!("systemctl show -P NeedDaemonReload {unit}"))?;
    ensure!(stale == "no\n" || !is_exact, "{stale}");
    Limit::memory(64 << 20).expect_set(test, &pid)?;
    if is_exact && !test.is_on_cgroup2() {
        let allowed = file_of(test, &pid, "devices", "devices.list")?;
        let has = |start: &str| allowed.lines().any(|line| line.starts_with(start));
        ensure!(has("c 1:3 ") && !has("a "), "{allowed}");
    }
    clear_streams(test)?;
    for (word, status) in [("pause", "PAUSED"), ("resume", "RUNNING")] {
        test.ctr(&["task", word, &test.id])?;
        test.wait_for_status(status)?;
    }
    let seen = scopes(test)?;
    ensure!(seen.contains(&unit), "{seen}");
    test.remove()?;
    no_scope_is_left(test)?;
    // What systemd leaves alone is made and removed by others. Folders of units go while this looks.
    let find = format!(
        "find /sys/fs/cgroup -ignore_readdir_race -name '*{}*'",
        test.id
    );
    wait_until(|| {
        let left = on_host(test, &find)?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// It is what the documentation has people do once Trireme is installed.
fn a_restart_of_containerd_by_systemd_ends_no_task(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "600"])?;
    let before = test.task()?;
    let main_pid = || on_host(test, "systemctl show --value --property MainPID containerd");
    let main = main_pid()?;
    on_host(test, "systemctl restart containerd")?;
    ensure!(main_pid()? != main, "it was not restarted");
    let after = wait_until(|| test.task())?;
    ensure!(after == before, "{after:?}, before it {before:?}");
    test.exec(&words(test, "one", &["--detach"], &["/sleep.wasm", "600"]))?
        .expect(0)?;
    wait_for_pids(test, 2)?;
    clear_streams(test)?;
    test.remove()?;
    test.next_container_runs()
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
    // What CRI has no word of its own for.
    let unified = match test.is_on_cgroup2() {
        true => r#", "unified": { "pids.max": "7" }"#,
        false => "",
    };
    let container = format!(
        r#"{{ "resources": {{ "memory_limit_in_bytes": 67108864,
        "cpu_quota": 20000, "cpu_period": 100000 {unified} }},
        "security_context": {{ "namespace_options": {{ "network": 2, "pid": 1 }} }} }}"#
    );
    Pod::with_config(test, handler(test.mode.server()), POD, |pod| {
        let start = |name: &str, image: &str, command: &[&str]| {
            pod.start_with(name, image, command, &container)
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
            is_updated(test, &busy).with_context(|| name.to_owned())?;
            crictl(test, &["rm", "--force", &busy])?;
        }
        if test.is_on_cgroup2() {
            let forks = "for child in 1 2 3 4 5 6 7 8; do sleep 100 & done; exit 9";
            let forks = start("forks", Mode::Runc.image(), &["/bin/sh", "-c", forks])?;
            // The shell ends with this code where it cannot fork.
            pod.ends(&forks, 2)?;
        }
        for (name, image) in [("steady", guests), ("steady-linux", Mode::Runc.image())] {
            let steady = start(name, image, &["/grow.wasm", "32", "1000"])?;
            is_counted(test, &steady, &format!("cri-containerd-{steady}.scope"))
                .with_context(|| name.to_owned())?;
        }
        Ok(())
    })?;
    no_scope_is_left(test)
}

/// That limits change when they are to, and that nothing else does.
fn is_updated(test: &Test<'_>, container: &str) -> Result<()> {
    let pid = pid_of(test, container)?;
    let devices = || match test.is_on_cgroup2() {
        true => Ok(String::new()),
        false => file_of(test, &pid, "devices", "devices.list"),
    };
    let before = devices()?;
    crictl(test, &["update", "--memory", "134217728", container])?;
    Limit::memory(128 << 20).expect_set(test, &pid)?;
    Limit::processor(20_000).expect_set(test, &pid)?;
    crictl(test, &["update", "--cpu-quota", "35001", container])?;
    Limit::memory(128 << 20).expect_set(test, &pid)?;
    Limit::processor(35_001).expect_set(test, &pid)?;
    crictl(test, &["update", "--cpu-share", "512", container])?;
    Limit::processor(35_001).expect_set(test, &pid)?;
    let after = devices()?;
    ensure!(after == before, "{before} has become {after}");
    Ok(())
}

/// That the cgroup of a container that works without end has the limits, and that they hold.
fn is_limited(test: &Test<'_>, container: &str) -> Result<()> {
    let pid = pid_of(test, container)?;
    let [memory, processor] = match test.is_on_cgroup2() {
        true => ["", ""],
        false => ["memory", "cpu"],
    };
    let place = on_host(test, &format!("cat /proc/{pid}/cgroup"))?;
    let wanted = format!("/kubepods.slice/kubepods-e2e.slice/cri-containerd-{container}.scope");
    let is_there = |line: &str| line.split(':').nth(2) == Some(&wanted);
    let lines = || {
        place.lines().filter(|line| {
            let controllers = line.split(':').nth(1).unwrap_or_default();
            controllers
                .split(',')
                .any(|name| name == memory || name == processor)
        })
    };
    ensure!(
        lines().count() > 0 && lines().all(is_there),
        "not {wanted}: {place}"
    );
    let mut limits = vec![Limit::memory(64 << 20), Limit::processor(20_000)];
    if test.is_on_cgroup2() {
        limits.push(Limit::pids(7));
    }
    for limit in limits {
        limit.expect_set(test, &pid)?;
    }
    wait_until(|| {
        let seen = file_of(test, &pid, processor, "cpu.stat")?;
        let count = seen
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "));
        let count = count.with_context(|| seen.clone())?;
        ensure!(count.parse::<u64>()? > 3, "throttled {count}");
        Ok(())
    })
}
