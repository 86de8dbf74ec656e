//! Pods of several containers, and their ends.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::cases;
use super::{Cluster, container, sidecar};
use crate::command::LIMIT;
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [
        a_sidecar_of_linux_shares_network_and_files,
        containers_of_init_run_before_and_sidecars_beside,
        a_hook_runs_before_the_end,
        a_script_of_a_shell_runs_before_the_end,
    ],
    wasm: [a_deleted_pod_goes_within_its_grace_period],
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

fn a_hook_runs_before_the_end(test: &Test<'_>) -> Result<()> {
    farewell_is_heard(
        test,
        &["/talk.wasm", "ask", "127.0.0.1", "8080", "farewell"],
    )
}

fn a_script_of_a_shell_runs_before_the_end(test: &Test<'_>) -> Result<()> {
    let script = "echo farewell | busybox nc 127.0.0.1 8080";
    farewell_is_heard(test, &["/bin/sh", "-c", script])
}

fn farewell_is_heard(test: &Test<'_>, farewell: &[&str]) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mut server = cluster.guest("server", &["/talk.wasm", "serve", "8080"]);
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
