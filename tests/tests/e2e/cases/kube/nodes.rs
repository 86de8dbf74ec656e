//! What is wrong with a node, and not with a pod: who runs goes on, who cannot be is told why, and is
//! once the node is well.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use trireme_tests::host::containerd;

use super::super::{cache, cases};
use super::{Cluster, sidecar};
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [],
    wasm: [
        a_broken_configuration_stops_new_pods_alone,
        a_full_disk_under_the_cache_keeps_nobody_from_running,
    ],
}

/// A pod with a guest and a Linux program.
fn mixed(cluster: &Cluster<'_>, name: &str) -> Result<()> {
    let guest = cluster.guest("guest", &["/tick.wasm"]);
    let containers = json!([guest, sidecar(&["/bin/sleep", "1000"])]);
    cluster.pod(name, json!({ "containers": containers }))
}

/// That a pod does what pods do.
fn works(cluster: &Cluster<'_>, pod: &str) -> Result<()> {
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
                let ready =
                    cluster.get("pod/old", "{.status.containerStatuses[*].restartCount}")?;
                ensure!(ready == "0 0", "{ready}");
                Ok(())
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
        let path = "{.status.containerStatuses[?(@.name==\"guest\")].containerID}";
        let id = cluster.get("pod/cramped", path)?;
        let id = id
            .strip_prefix("containerd://")
            .with_context(|| id.clone())?;
        let log = containerd::DAEMON.tail(&test.host.instance, 0, usize::MAX);
        let told = log.lines().any(|line| {
            line.contains(id) && line.contains("running uncached") && line.contains("No space left")
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
