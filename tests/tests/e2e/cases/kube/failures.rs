//! Guests that fail, and pods that cannot be: what the cluster says of them.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::cases;
use super::Cluster;
use super::nodes::{has_been_started_once, mixed_of, works};
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [
        a_guest_that_fails_is_held_back_from_starting,
        a_guest_beyond_its_memory_is_told_as_such,
        a_first_container_that_fails_holds_back_the_others,
    ],
    wasm: [what_cannot_run_is_told_in_the_events],
}

fn a_guest_that_fails_is_held_back_from_starting(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let containers = json!([cluster.guest("guest", &["/exit.wasm", "1"])]);
        cluster.pod("failing", json!({ "containers": containers }))?;
        let path = "{.status.containerStatuses[0].state.waiting.reason}";
        cluster.wait("pod/failing", &format!("jsonpath={path}=CrashLoopBackOff"))?;
        let last = "{.status.containerStatuses[0].lastState.terminated['reason','exitCode']}";
        let seen = cluster.get("pod/failing", last)?;
        ensure!(seen == "Error 1", "{seen}");
        let path = "{.status.containerStatuses[0].restartCount}";
        super::wait_until(|| {
            let count = cluster.get("pod/failing", path)?;
            ensure!(count.parse::<u32>()? >= 1, "{count}");
            Ok(())
        })?;
        cluster.wait_for_event("failing", "Back-off restarting failed container")
    })
}

fn a_guest_beyond_its_memory_is_told_as_such(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mut guest = cluster.guest("guest", &["/grow.wasm", "256"]);
        guest["resources"] = json!({ "limits": { "memory": "64Mi" } });
        let containers = json!([guest]);
        cluster.pod(
            "greedy",
            json!({ "containers": containers, "restartPolicy": "Never" }),
        )?;
        cluster.wait("pod/greedy", "jsonpath={.status.phase}=Failed")?;
        let path = "{.status.containerStatuses[0].state.terminated['reason','exitCode']}";
        let seen = cluster.get("pod/greedy", path)?;
        ensure!(seen == "OOMKilled 137", "{seen}");
        let seen = cluster.kubectl(&["describe", "pod", "greedy"])?;
        let words: Vec<_> = seen.split_whitespace().collect();
        ensure!(words.join(" ").contains("Reason: OOMKilled"), "{seen}");
        Ok(())
    })
}

fn a_first_container_that_fails_holds_back_the_others(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let first = cluster.guest("first", &["/exit.wasm", "3"]);
        let main = cluster.guest("main", &["/hello.wasm"]);
        let spec = json!({
            "restartPolicy": "Never",
            "initContainers": [first],
            "containers": [main],
        });
        cluster.pod("ship", spec)?;
        cluster.wait("pod/ship", "jsonpath={.status.phase}=Failed")?;
        let path = "{.status.initContainerStatuses[0].state.terminated['reason','exitCode']}";
        let seen = cluster.get("pod/ship", path)?;
        ensure!(seen == "Error 3", "{seen}");
        let path = "{.status.containerStatuses[0].state.waiting.reason}";
        let seen = cluster.get("pod/ship", path)?;
        ensure!(seen == "PodInitializing", "{seen}");
        Ok(())
    })
}

/// Nothing of it concerns a pod that runs.
fn what_cannot_run_is_told_in_the_events(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        mixed_of(cluster, "old", json!({}))?;
        cluster.wait("pod/old", "condition=Ready")?;
        // It is of the whole cluster, so it bears the case's name.
        let class = cluster.namespace.as_str();
        cluster.apply(&json!({
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": { "name": class },
            "handler": "nobody-configured-it",
        }))?;
        let pods = [
            ("class", "/sleep.wasm", json!({ "runtimeClassName": class })),
            ("text", "/where.txt", json!({})),
            ("absent", "/absent.wasm", json!({})),
            ("users", "/sleep.wasm", json!({ "hostUsers": false })),
        ];
        for (name, program, mut spec) in pods {
            spec["containers"] = json!([cluster.guest("guest", &[program, "1000"])]);
            cluster.pod(name, spec)?;
        }
        let absent =
            json!({ "apiVersion": "v1", "spec": { "runtimeClassName": "nobody-made-it" } });
        let overrides = format!("--overrides={absent}");
        let image = format!("--image={}", test.mode.image());
        let refused = cluster.start(&["run", "refused", &image, &overrides])?;
        let refused = refused.finish(LIMIT)?;
        ensure!(
            refused.code != 0
                && refused
                    .stderr
                    .contains("RuntimeClass \"nobody-made-it\" not found"),
            "{refused:?}"
        );
        let handler = super::class_of(test.mode).unwrap_or_default();
        let users = format!("RuntimeClass handler \"{handler}\" does not support user namespaces");
        let text = format!(
            "/where.txt: neither WebAssembly nor a Linux executable; handler \"{handler}\""
        );
        for (name, message) in [
            (
                "class",
                "no runtime for \"nobody-configured-it\" is configured",
            ),
            ("text", &text),
            (
                "absent",
                "exec: \"/absent.wasm\": no such file or directory",
            ),
            ("users", &users),
        ] {
            cluster.wait_for_event(name, message)?;
        }
        cluster.kubectl(&["delete", "runtimeclass", class])?;
        works(cluster, "old")?;
        has_been_started_once(cluster, "old")
    })
}
