//! What is wrong with a node, and not with a pod: who runs goes on, who cannot be is told why, and is
//! once the node is well.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use trireme_tests::host::containerd;

use super::super::pods::crictl;
use super::super::pods::sandboxes::server_of;
use super::super::{cache, cases};
use super::{Cluster, sidecar};
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [],
    wasm: [
        a_broken_configuration_stops_new_pods_alone,
        a_full_disk_under_the_cache_keeps_nobody_from_running,
        a_pod_whose_server_was_killed_is_made_again,
        pods_run_on_while_containerd_is_away,
    ],
}

/// A pod with a guest and a Linux program.
fn mixed(cluster: &Cluster<'_>, name: &str) -> Result<()> {
    mixed_of(cluster, name, json!({}))
}

/// The same with more of a specification.
pub fn mixed_of(cluster: &Cluster<'_>, name: &str, mut spec: Value) -> Result<()> {
    let guest = cluster.guest("guest", &["/tick.wasm"]);
    spec["containers"] = json!([guest, sidecar(&["/bin/sleep", "1000"])]);
    cluster.pod(name, spec)
}

/// That a pod does what pods do.
pub fn works(cluster: &Cluster<'_>, pod: &str) -> Result<()> {
    for container in ["--container=guest", "--container=sidecar"] {
        let shown = cluster.kubectl(&["exec", pod, container, "--", "/hello.wasm"])?;
        ensure!(
            shown == "hello from the guest",
            "{pod} {container}: {shown}"
        );
    }
    let last = || -> Result<u64> {
        let tail = cluster.kubectl(&["logs", pod, "--container=guest", "--tail=1"])?;
        tail.parse().with_context(|| tail.clone())
    };
    let before = last()?;
    super::wait_until(|| {
        let now = last()?;
        ensure!(now > before, "{now}, it was {before}");
        Ok(())
    })
}

/// That nothing of a pod was started again.
pub fn has_been_started_once(cluster: &Cluster<'_>, pod: &str) -> Result<()> {
    let path = "{.status.containerStatuses[*].restartCount}";
    let counts = cluster.get(&format!("pod/{pod}"), path)?;
    ensure!(counts == "0 0", "{pod}: {counts}");
    Ok(())
}

/// The pid of a pod's guest.
fn pid_of_guest(cluster: &Cluster<'_>, pod: &str) -> Result<String> {
    super::pid_of(cluster.test, &cluster.id_of(pod, "guest")?)
}

fn a_broken_configuration_stops_new_pods_alone(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        for name in ["old", "leaving"] {
            mixed(cluster, name)?;
        }
        for pod in ["pod/old", "pod/leaving"] {
            cluster.wait(pod, "condition=Ready")?;
        }
        test.with_config(
            "[handlers.wasm]\nengine = \"wasmtime\"\ncolour = 1\n",
            || {
                mixed(cluster, "new")?;
                cluster.wait_for_event("new", "/etc/trireme/config.toml:3: unknown key")?;
                works(cluster, "old")?;
                cluster.kubectl(&["delete", "pod", "leaving"])?;
                has_been_started_once(cluster, "old")
            },
        )?;
        cluster.wait("pod/new", "condition=Ready")?;
        works(cluster, "new")?;
        works(cluster, "old")
    })
}

fn a_full_disk_under_the_cache_keeps_nobody_from_running(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        cache::clear(test)?;
        let full = format!(
            "mkdir -p {0} && mount -t tmpfs -o size=8k,mode=700 tmpfs {0}",
            cache::CACHE
        );
        test.exec(&["sh", "-ec", &full])?.expect(0)?;
        let runs = mixed(cluster, "cramped")
            .and_then(|()| cluster.wait("pod/cramped", "condition=Ready"))
            .and_then(|()| works(cluster, "cramped"));
        test.exec(&["umount", cache::CACHE])?.expect(0)?;
        runs?;
        let id = cluster.id_of("cramped", "guest")?;
        let log = containerd::DAEMON.tail(&test.host.instance, 0, usize::MAX);
        let told = log.lines().any(|line| {
            line.contains(&id)
                && line.contains("running uncached")
                && line.contains("No space left")
        });
        ensure!(told, "no line says that {id} runs uncached");
        // The entry is made by whoever comes next.
        mixed(cluster, "next")?;
        cluster.wait("pod/next", "condition=Ready")?;
        let entries = cache::entries(test)?;
        ensure!(!entries.is_empty(), "nothing has been cached");
        Ok(())
    })
}

/// That containerd was told how containers have ended whose server was killed. The cluster forgets it
/// with their sandbox, which is made again.
fn are_told_lost(test: &Test<'_>, ids: &str) -> Result<()> {
    let log = containerd::DAEMON.tail(&test.host.instance, 0, usize::MAX);
    for id in ids.lines() {
        let is_end = |line: &&str| line.contains("container exit event") && line.contains(id);
        let told = log.lines().find(is_end);
        let told = told.with_context(|| format!("no end of {id} was told"))?;
        // By `delete`, or by containerd, which knows no more than that the connection has ended.
        let is_lost = ["exit_status:137", "exit_status:255"];
        ensure!(is_lost.iter().any(|end| told.contains(end)), "{told}");
    }
    Ok(())
}

/// A pod of another server is not concerned.
fn a_pod_whose_server_was_killed_is_made_again(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        mixed(cluster, "ship")?;
        let class = json!({ "runtimeClassName": "wasmtime" });
        mixed_of(cluster, "other", class)?;
        for pod in ["pod/ship", "pod/other"] {
            cluster.wait(pod, "condition=Ready")?;
        }
        let before = pid_of_guest(cluster, "other")?;
        let server = server_of(test, &pid_of_guest(cluster, "ship")?)?;
        let of = "io.kubernetes.pod.name=ship";
        let containers = crictl(test, &["ps", "--quiet", "--no-trunc", "--label", of])?;
        ensure!(containers.lines().count() == 2, "{containers}");
        test.exec(&["kill", "-KILL", &server])?.expect(0)?;
        let path = "{.status.containerStatuses[*]['restartCount','ready']}";
        super::wait_until(|| {
            let seen = cluster.get("pod/ship", path)?;
            // More often where the kubelet has tried it in the pod that was dying.
            let is_again = !seen.starts_with('0') && !seen.contains(" 0 ");
            ensure!(is_again && seen.ends_with("true true"), "{seen}");
            Ok(())
        })?;
        are_told_lost(test, &containers)?;
        works(cluster, "ship")?;
        cluster.wait_for_event(
            "ship",
            "Pod sandbox changed, it will be killed and re-created.",
        )?;
        has_been_started_once(cluster, "other")?;
        ensure!(before == pid_of_guest(cluster, "other")?, "it is another");
        works(cluster, "other")
    })
}

fn pods_run_on_while_containerd_is_away(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        mixed(cluster, "ship")?;
        cluster.wait("pod/ship", "condition=Ready")?;
        let before = pid_of_guest(cluster, "ship")?;
        test.kill_containerd()?;
        let is_alive = test.exec(&["kill", "-0", &before]);
        test.start_containerd()?;
        is_alive?.expect(0)?;
        super::wait_until(|| works(cluster, "ship"))?;
        // Until the kubelet has looked again.
        works(cluster, "ship")?;
        cluster.wait("pod/ship", "condition=Ready")?;
        ensure!(before == pid_of_guest(cluster, "ship")?, "it is another");
        has_been_started_once(cluster, "ship")
    })
}
