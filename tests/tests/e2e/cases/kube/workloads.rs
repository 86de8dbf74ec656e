//! What keeps pods running, or has them run once.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::cases;
use super::Cluster;
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [
        a_deployment_grows_to_thirty_pods_and_shrinks_to_none,
        a_rolling_update_is_made_and_undone,
        jobs_complete_and_fail,
    ],
    wasm: [],
}

/// How long guests are given to end, in seconds.
const GRACE: u64 = 70;

fn deployment(cluster: &Cluster<'_>, replicas: u32, command: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "fleet" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "fleet" } },
            "template": {
                "metadata": { "labels": { "app": "fleet" } },
                "spec": cluster.spec(json!({ "containers": [cluster.guest("ship", command)] })),
            },
        },
    })
}

fn rolled_out(cluster: &Cluster<'_>) -> Result<()> {
    let words = ["rollout", "status", "deployment/fleet", "--timeout=60s"];
    let running = cluster.start(&words)?;
    running.finish(super::PATIENCE * 2)?.expect(0)?;
    Ok(())
}

fn a_deployment_grows_to_thirty_pods_and_shrinks_to_none(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let mut fleet = deployment(cluster, 3, &["/sleep.wasm", "1000"]);
        if test.mode.engine().is_some() {
            // A guest ends when it is asked to, and not when this is over.
            fleet["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(GRACE);
        }
        cluster.apply(&fleet)?;
        rolled_out(cluster)?;
        let seen = cluster.kubectl(&["get", "pods", "--no-headers"])?;
        let running = |line: &str| line.contains("1/1") && line.contains("Running");
        ensure!(
            seen.lines().count() == 3 && seen.lines().all(running),
            "{seen}"
        );
        scale(cluster, 30)?;
        cluster.wait("deployment/fleet", "jsonpath={.status.readyReplicas}=30")?;
        let path = "{.items[*].status.containerStatuses[*].restartCount}";
        let restarts = cluster.get("pods", path)?;
        let counts: Vec<_> = restarts.split_whitespace().collect();
        ensure!(counts == ["0"; 30], "{restarts}");
        scale(cluster, 0)?;
        let limit = format!("--timeout={}s", GRACE - 10);
        let gone = ["wait", "--for=delete", "pod", "--all", &limit];
        let gone = cluster.start(&gone)?.finish(super::PATIENCE + LIMIT)?;
        gone.expect(0).map(drop)
    })
}

fn scale(cluster: &Cluster<'_>, replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    cluster.kubectl(&["scale", "deployment/fleet", &replicas])?;
    Ok(())
}

fn a_rolling_update_is_made_and_undone(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        cluster.apply(&deployment(cluster, 2, &["/sleep.wasm", "1000"]))?;
        rolled_out(cluster)?;
        cluster.apply(&deployment(cluster, 2, &["/tick.wasm"]))?;
        rolled_out(cluster)?;
        runs_only(cluster, "/tick.wasm")?;
        cluster.kubectl(&["rollout", "undo", "deployment/fleet"])?;
        rolled_out(cluster)?;
        runs_only(cluster, "/sleep.wasm")
    })
}

/// That the pods that are to stay have this program, and that it runs in them.
fn runs_only(cluster: &Cluster<'_>, program: &str) -> Result<()> {
    super::wait_until(|| {
        let path =
            "{range .items[*]}{.spec.containers[0].command[0]} {.status.phase}{\"\\n\"}{end}";
        let seen = cluster.get("pods", path)?;
        let wanted = format!("{program} Running");
        let all = seen.lines().count() == 2 && seen.lines().all(|line| line == wanted);
        ensure!(all, "{seen}");
        Ok(())
    })
}

fn job(cluster: &Cluster<'_>, name: &str, completions: u32, command: &[&str]) -> Value {
    let mut spec = cluster.spec(json!({ "containers": [cluster.guest("task", command)] }));
    spec["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": name },
        "spec": {
            "backoffLimit": 0,
            "completions": completions,
            "parallelism": completions,
            "template": { "spec": spec },
        },
    })
}

fn jobs_complete_and_fail(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        cluster.apply(&job(cluster, "three", 3, &["/hello.wasm"]))?;
        cluster.apply(&job(cluster, "broken", 1, &["/exit.wasm", "3"]))?;
        cluster.wait("job/three", "condition=complete")?;
        let logs = cluster.kubectl(&["logs", "--selector", "job-name=three"])?;
        ensure!(logs == ["hello from the guest"; 3].join("\n"), "{logs}");
        cluster.wait("job/broken", "condition=failed")?;
        let path = "{.items[*].status.containerStatuses[0].state.terminated.exitCode}";
        let words = ["get", "pods", "--selector", "job-name=broken", "--output"];
        let code = cluster.kubectl(&[&words[..], &[&format!("jsonpath={path}")]].concat())?;
        ensure!(code == "3", "{code}");
        Ok(())
    })
}
