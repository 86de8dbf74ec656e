//! Limits of pods and of their containers, as the kernel holds them.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::super::cases;
use super::super::limit::Limit;
use super::nodes::has_been_started_once;
use super::{Cluster, sidecar};
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [
        a_limit_of_processor_time_holds,
        a_pod_has_no_more_processes_than_the_node_allows,
        a_pod_is_resized_while_it_runs,
    ],
    wasm: [],
}

/// A fifth of a processor, for one that would take all of it.
fn a_limit_of_processor_time_holds(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mut guest = cluster.guest("guest", &["/spin.wasm"]);
        guest["resources"] = json!({ "limits": { "cpu": "200m", "memory": "64Mi" } });
        cluster.running_pod("hungry", guest)?;
        let id = cluster.get("pod/hungry", "{.status.containerStatuses[0].containerID}")?;
        let id = id
            .strip_prefix("containerd://")
            .with_context(|| id.clone())?;
        // By the files of version 1 or 2: nanoseconds of processors and of the clock.
        let script = r#"cd /sys/fs/cgroup
            used() {
                if [ -e cgroup.controllers ]; then
                    sed -n 's/^usage_usec \(.*\)/\1000/p' "$folder/cpu.stat"
                else
                    cat "$folder/cpuacct.usage"
                fi
            }
            if [ -e cgroup.controllers ]; then top=.; else top=cpuacct; fi
            folder=$(find $top -type d -name "$0")
            [ -n "$folder" ]
            before=$(used) since=$(date +%s%N)
            sleep 3
            echo $(($(used) - before)) $(($(date +%s%N) - since))
            grep nr_throttled "${folder/cpuacct/cpu}/cpu.stat""#;
        let output = test.exec(&["bash", "-euc", script, id])?.expect(0)?;
        let told = output.stdout.replace("nr_throttled ", "");
        let numbers: Result<Vec<u64>, _> = told.split_whitespace().map(str::parse).collect();
        let [used, passed, throttled] = numbers.with_context(|| format!("{output:?}"))?[..] else {
            anyhow::bail!("three numbers were expected: {output:?}");
        };
        ensure!(
            used > 0 && used * 4 < passed && throttled > 0,
            "{used} of {passed} ns, held back {throttled} times"
        );
        Ok(())
    })
}

/// The kubelet sets it for the pod as a whole (`podPidsLimit`), so containers have to be below.
fn a_pod_has_no_more_processes_than_the_node_allows(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let script =
            "for i in $(/bin/busybox seq 1000); do /bin/sleep 1000 & done; echo none failed";
        let guest = cluster.guest("guest", &["/sleep.wasm", "1000"]);
        let containers = json!([guest, sidecar(&["/bin/sh", "-c", script])]);
        cluster.pod(
            "crowd",
            json!({ "containers": containers, "restartPolicy": "Never" }),
        )?;
        let path = "{.status.containerStatuses[?(@.name==\"sidecar\")].state.terminated.exitCode}";
        super::wait_until(|| {
            let code = cluster.get("pod/crowd", path)?;
            ensure!(code == "2", "`{code}`");
            Ok(())
        })?;
        let logs = cluster.kubectl(&["logs", "crowd", "--container=sidecar"])?;
        ensure!(
            logs.contains("can't fork") && !logs.contains("none failed"),
            "{logs}"
        );
        Ok(())
    })
}

/// Its containers are given other limits, and none is started again.
fn a_pod_is_resized_while_it_runs(test: &Test<'_>) -> Result<()> {
    const NAMES: [&str; 2] = ["guest", "sidecar"];
    Cluster::with(test, |cluster| {
        let limited = |processor: &str, memory: &str| {
            let most = json!({ "cpu": processor, "memory": memory });
            json!({ "requests": most, "limits": most })
        };
        let containers = [
            cluster.guest("guest", &["/sleep.wasm", "1000"]),
            sidecar(&["/bin/sleep", "1000"]),
        ];
        let containers = containers.map(|mut container| {
            container["resources"] = limited("100m", "64Mi");
            container
        });
        cluster.pod("ship", json!({ "containers": containers }))?;
        cluster.wait("pod/ship", "condition=Ready")?;
        let are_set = |processor, memory| -> Result<()> {
            for name in NAMES {
                let pid = super::pid_of(test, &cluster.id_of("ship", name)?)?;
                Limit::processor(processor).expect_set(test, &pid)?;
                Limit::memory(memory).expect_set(test, &pid)?;
            }
            Ok(())
        };
        are_set(10_000, 64 << 20)?;
        let containers =
            NAMES.map(|name| json!({ "name": name, "resources": limited("200m", "96Mi") }));
        let patch = json!({ "spec": { "containers": containers } }).to_string();
        let words = ["patch", "pod", "ship", "--subresource", "resize"];
        cluster.kubectl(&[&words[..], &["--patch", &patch]].concat())?;
        super::wait_until(|| are_set(20_000, 96 << 20))?;
        let path = "{.status.containerStatuses[*].resources.limits.memory}";
        super::wait_until(|| {
            let told = cluster.get("pod/ship", path)?;
            ensure!(told == "96Mi 96Mi", "`{told}`");
            Ok(())
        })?;
        has_been_started_once(cluster, "ship")
    })
}
