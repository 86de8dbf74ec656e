//! Pods of several containers, and their ends.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::cases;
use super::super::pods::namespace_of;
use super::nodes::{has_been_started_once, mixed_of, works};
use super::{Cluster, class_of, container, sidecar};
use crate::command::LIMIT;
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [
        a_sidecar_of_linux_shares_network_and_files,
        containers_of_init_run_before_and_sidecars_beside,
        a_guest_serves_as_a_sidecar_and_is_started_again,
        processes_are_seen_where_a_pod_shares_them,
        hooks_run_after_the_start,
        a_hook_runs_before_the_end,
        a_script_of_a_shell_runs_before_the_end,
        a_deaf_pod_is_killed_when_its_time_is_up,
    ],
    wasm: [
        a_hook_of_a_sidecar_runs_before_its_end,
        a_deleted_pod_goes_within_its_grace_period,
        a_pod_without_a_pause_container_is_like_any_other,
        pods_of_each_engine_run_or_tell_why_not,
    ],
}

fn a_sidecar_of_linux_shares_network_and_files(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mounts = json!([{ "name": "shared", "mountPath": "/mnt/one" }]);
        let mut guest = cluster.guest("guest", &["/talk.wasm", "serve", "8080"]);
        let mut sidecar = sidecar(&["/bin/sleep", "1000"]);
        for container in [&mut guest, &mut sidecar] {
            container["volumeMounts"] = mounts.clone();
        }
        let volumes = json!([{ "name": "shared", "emptyDir": {} }]);
        let containers = json!([guest, sidecar]);
        cluster.pod(
            "ship",
            json!({ "containers": containers, "volumes": volumes }),
        )?;
        cluster.wait("pod/ship", "condition=Ready")?;
        let in_sidecar = |command: &[&str]| {
            cluster.kubectl(&[&["exec", "ship", "--container=sidecar", "--"], command].concat())
        };
        // It may not listen yet.
        super::wait_until(|| {
            let answer = in_sidecar(&["/talk.wasm", "ask", "127.0.0.1", "8080", "ahoy"])?;
            ensure!(answer == "aye, ahoy", "{answer}");
            Ok(())
        })?;
        let write = ["/files.wasm", "write:/mnt/one/note"];
        let words = ["exec", "ship", "--container=guest", "--"];
        cluster.kubectl(&[&words[..], &write].concat())?;
        let note = in_sidecar(&["/bin/cat", "/mnt/one/note"])?;
        ensure!(note == "written by the guest", "{note}");
        Ok(())
    })
}

fn containers_of_init_run_before_and_sidecars_beside(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mounts = json!([{ "name": "shared", "mountPath": "/mnt/one" }]);
        let mut first = cluster.guest("first", &["/files.wasm", "write:/mnt/one/note"]);
        // One that stays, since it would be started again.
        let mut beside = sidecar(&["/bin/sleep", "1000"]);
        beside["restartPolicy"] = json!("Always");
        let mut main = cluster.guest("main", &["/files.wasm", "read:/mnt/one/note"]);
        for container in [&mut first, &mut main] {
            container["volumeMounts"] = mounts.clone();
        }
        cluster.pod(
            "ship",
            json!({
                "restartPolicy": "Never",
                "initContainers": [first, beside],
                "containers": [main],
                "volumes": [{ "name": "shared", "emptyDir": {} }],
            }),
        )?;
        cluster.wait("pod/ship", "jsonpath={.status.phase}=Succeeded")?;
        let logs = cluster.kubectl(&["logs", "ship", "--container=main"])?;
        ensure!(
            logs == "read /mnt/one/note: ok written by the guest",
            "{logs}"
        );
        let ends = "{.status.initContainerStatuses[*].state.terminated.reason}";
        let ends = cluster.get("pod/ship", ends)?;
        // The sidecar was killed with SIGKILL, as one that handles no signal.
        ensure!(ends == "Completed Error", "{ends}");
        Ok(())
    })
}

/// The sidecar is a guest. What it serves is asked by a container that comes after it, and does not
/// come before it serves.
fn a_guest_serves_as_a_sidecar_and_is_started_again(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mut beside = cluster.guest("beside", &["/talk.wasm", "serve", "8080"]);
        beside["restartPolicy"] = json!("Always");
        beside["startupProbe"] = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 });
        let ask = ["/talk.wasm", "ask", "127.0.0.1", "8080", "ahoy"];
        let first = cluster.guest("first", &ask);
        let main = cluster.guest("main", &["/sleep.wasm", "1000"]);
        let spec = json!({ "initContainers": [beside, first], "containers": [main] });
        cluster.pod("ship", spec)?;
        cluster.wait("pod/ship", "condition=Ready")?;
        let logs = cluster.kubectl(&["logs", "ship", "--container=first"])?;
        ensure!(logs == "aye, ahoy", "{logs}");
        let id = "{.status.initContainerStatuses[0].containerID}";
        let id = cluster.get("pod/ship", id)?;
        let pid = super::pid_of(test, id.trim_start_matches("containerd://"))?;
        test.exec(&["kill", "-KILL", &pid])?.expect(0)?;
        super::wait_until(|| {
            let path = "{.status.initContainerStatuses[0]['restartCount','ready']}";
            let seen = cluster.get("pod/ship", path)?;
            ensure!(seen == "1 true", "{seen}");
            Ok(())
        })?;
        let ask = [&["exec", "ship", "--container=main", "--"][..], &ask].concat();
        let answer = cluster.kubectl(&ask)?;
        ensure!(answer == "aye, ahoy", "{answer}");
        let path = "{.status.containerStatuses[0].restartCount}";
        let count = cluster.get("pod/ship", path)?;
        ensure!(count == "0", "{count}");
        Ok(())
    })
}

/// The first process of the namespace is the pod's own.
fn processes_are_seen_where_a_pod_shares_them(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        for shares in [true, false] {
            let name = format!("shares-{shares}");
            let guest = cluster.guest("guest", &["/sleep.wasm", "1000"]);
            let containers = json!([guest, sidecar(&["/bin/sleep", "1000"])]);
            let spec = json!({ "containers": containers, "shareProcessNamespace": shares });
            cluster.pod(&name, spec)?;
            cluster.wait(&format!("pod/{name}"), "condition=Ready")?;
            let namespace = |container: &str| -> Result<String> {
                let pid = super::pid_of(test, &cluster.id_of(&name, container)?)?;
                namespace_of(test, &pid, "pid")
            };
            let is_shared = namespace("guest")? == namespace("sidecar")?;
            ensure!(is_shared == shares, "{name}: {is_shared}");
            let script = "set -- /proc/[0-9]*; echo $#";
            let words = ["exec", &name, "--container=sidecar", "--", "/bin/sh", "-c"];
            let count = cluster.kubectl(&[&words[..], &[script]].concat())?;
            // The shell and the sidecar; where they share, the guest and the pod's own too.
            let wanted = if shares { "4" } else { "2" };
            ensure!(count == wanted, "{name}: {count} processes");
        }
        Ok(())
    })
}

fn hooks_run_after_the_start(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mut guest = cluster.guest("guest", &["/sleep.wasm", "1000"]);
        let mut sidecar = sidecar(&["/bin/sleep", "1000"]);
        for (container, command) in [
            (&mut guest, &["/files.wasm", "write:/work/note"][..]),
            (
                &mut sidecar,
                &["/bin/sh", "-c", "echo by the shell > /work/note"],
            ),
        ] {
            let hook = json!({ "exec": { "command": command } });
            container["lifecycle"] = json!({ "postStart": hook });
        }
        cluster.pod("ship", json!({ "containers": [guest, sidecar] }))?;
        // Before they have run, nothing is.
        cluster.wait("pod/ship", "condition=Ready")?;
        let read = |container, program: &[&str]| {
            let words = ["exec", "ship", "--container", container, "--"];
            cluster.kubectl(&[&words[..], program].concat())
        };
        let note = read("guest", &["/files.wasm", "read:/work/note"])?;
        ensure!(note.ends_with("ok written by the guest"), "{note}");
        let note = read("sidecar", &["/bin/cat", "/work/note"])?;
        ensure!(note == "by the shell", "{note}");
        Ok(())
    })
}

fn a_hook_runs_before_the_end(test: &Test<'_>) -> Result<()> {
    let ask = ["/talk.wasm", "ask", "127.0.0.1", "8080", "farewell"];
    farewell_is_heard(test, test.mode.image(), &ask)
}

fn a_script_of_a_shell_runs_before_the_end(test: &Test<'_>) -> Result<()> {
    farewell_is_heard(test, test.mode.image(), &["/bin/sh", "-c", FAREWELL])
}

fn a_hook_of_a_sidecar_runs_before_its_end(test: &Test<'_>) -> Result<()> {
    farewell_is_heard(test, Mode::Runc.image(), &["/bin/sh", "-c", FAREWELL])
}

const FAREWELL: &str = "echo farewell | busybox nc 127.0.0.1 8080";

/// By a server of an image, which has this done before its end.
fn farewell_is_heard(test: &Test<'_>, image: &str, farewell: &[&str]) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mut server = container("server", image, &["/talk.wasm", "serve", "8080"]);
        server["readinessProbe"] = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 });
        server["lifecycle"] = json!({ "preStop": { "exec": { "command": farewell } } });
        // The hook's time counts.
        let spec = json!({ "containers": [server], "terminationGracePeriodSeconds": 5 });
        cluster.pod("server", spec)?;
        cluster.wait("pod/server", "condition=Ready")?;
        let mut logs = cluster.start(&["logs", "--follow", "server"])?;
        logs.wait_for("listening")?;
        cluster.kubectl(&["delete", "pod", "server", "--wait=false"])?;
        let seen = logs.finish(LIMIT)?.expect(0)?;
        ensure!(seen.stdout.ends_with("heard farewell\n"), "{seen:?}");
        Ok(())
    })
}

/// Guest and sidecar end by SIGTERM, the one by nature, the other since it asks for it.
fn a_deleted_pod_goes_within_its_grace_period(test: &Test<'_>) -> Result<()> {
    const GRACE: Duration = Duration::from_secs(25);
    Cluster::with(test, |cluster| {
        let guest = cluster.guest("guest", &["/sleep.wasm", "1000"]);
        let script = "trap 'exit 0' TERM; sleep 1000 & wait";
        let shell = container("sidecar", Mode::Runc.image(), &["/bin/sh", "-c", script]);
        let containers = json!([guest, shell]);
        cluster.pod("ship", json!({ "containers": containers }))?;
        cluster.wait("pod/ship", "condition=Ready")?;
        let started = Instant::now();
        let grace = format!("--grace-period={}", GRACE.as_secs());
        cluster.kubectl(&["delete", "pod", "ship", &grace])?;
        let took = started.elapsed();
        ensure!(took < GRACE, "it took {took:?}");
        Ok(())
    })
}

/// What hears no SIGTERM has the time that whoever deletes it gives, and not that of the pod. Of
/// WebAssembly it is the sidecar alone: a guest ends by it, where a first process of Linux does not.
fn a_deaf_pod_is_killed_when_its_time_is_up(test: &Test<'_>) -> Result<()> {
    const GRACE: Duration = Duration::from_secs(3);
    Cluster::with(test, |cluster| {
        let guest = cluster.guest("guest", &["/sleep.wasm", "1000"]);
        let deaf = sidecar(&["/bin/sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"]);
        let spec = json!({
            "containers": [guest, deaf],
            "terminationGracePeriodSeconds": 600,
        });
        let pids = |pod: &str| -> Result<[String; 2]> {
            cluster.pod(pod, spec.clone())?;
            cluster.wait(&format!("pod/{pod}"), "condition=Ready")?;
            let pid = |name| super::pid_of(test, &cluster.id_of(pod, name)?);
            Ok([pid("guest")?, pid("sidecar")?])
        };
        let are_gone = |pids: &[String]| {
            super::wait_until(|| {
                for pid in pids {
                    test.exec(&["test", "!", "-e", &format!("/proc/{pid}")])?
                        .expect(0)?;
                }
                Ok(())
            })
        };
        let patient = pids("patient")?;
        let grace = format!("--grace-period={}", GRACE.as_secs());
        let started = Instant::now();
        let delete = cluster.start(&["delete", "pod", "patient", &grace])?;
        delete.finish(GRACE + LIMIT)?.expect(0)?;
        let took = started.elapsed();
        ensure!(took >= GRACE, "it was given {took:?}");
        are_gone(&patient)?;
        // The API server forgets it at once, and the kubelet sees to the rest.
        let hasty = pids("hasty")?;
        cluster.kubectl(&["delete", "pod", "hasty", "--grace-period=0", "--force"])?;
        are_gone(&hasty)
    })
}

/// The node's configuration has no handler for WasmEdge.
fn pods_of_each_engine_run_or_tell_why_not(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        for class in ["wasmtime", "wasmer", "wasmedge"] {
            let guest = cluster.guest("guest", &["/hello.wasm"]);
            let spec = json!({
                "containers": [guest, sidecar(&["/bin/sleep", "1"])],
                "runtimeClassName": class,
                "restartPolicy": "Never",
            });
            cluster.pod(class, spec)?;
        }
        for class in ["wasmtime", "wasmer"] {
            cluster.wait(
                &format!("pod/{class}"),
                "jsonpath={.status.phase}=Succeeded",
            )?;
            let said = cluster.kubectl(&["logs", class, "--container=guest"])?;
            ensure!(said == "hello from the guest", "{class}: {said}");
        }
        cluster.wait_for_event("wasmedge", "trireme: no handler \"wasmedge\"")
    })
}

fn a_pod_without_a_pause_container_is_like_any_other(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let class = format!("{}-sandbox", class_of(test.mode).unwrap_or_default());
        mixed_of(cluster, "ship", json!({ "runtimeClassName": class }))?;
        cluster.wait("pod/ship", "condition=Ready")?;
        works(cluster, "ship")?;
        has_been_started_once(cluster, "ship")?;
        let uid = cluster.get("pod/ship", "{.metadata.uid}")?;
        let script =
            "cat $(find /sys/fs/cgroup -path \"*pod$0*\" -name cgroup.procs) | sort -u | wc -l";
        let count = test.exec(&["sh", "-ec", script, &uid])?.expect(0)?;
        ensure!(count.stdout.trim() == "2", "processes: {count:?}");
        cluster.kubectl(&["delete", "pod", "ship"]).map(drop)
    })
}
