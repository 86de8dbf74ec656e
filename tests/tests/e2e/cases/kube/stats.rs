//! What the kubelet tells of a container's use of the machine, against what the kernel does.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::accounts::Use;
use super::super::cases;
use super::{Cluster, sidecar};
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [],
    wasm: [the_summary_tells_what_the_cgroup_does],
}

/// Each container of the pod works for a while, then keeps what it has.
fn the_summary_tells_what_the_cgroup_does(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let guest = cluster.guest("guest", &["/grow.wasm", "64", "1000"]);
        let containers = json!([guest, sidecar(&["/grow.wasm", "32", "1000"])]);
        cluster.pod("steady", json!({ "containers": containers }))?;
        cluster.wait("pod/steady", "condition=Ready")?;
        for (name, last) in [("guest", "64 MiB"), ("sidecar", "32 MiB")] {
            let container = format!("--container={name}");
            cluster
                .start(&["logs", "--follow", "steady", &container])?
                .wait_for(last)?;
            is_told_right(cluster, Some(name)).with_context(|| name.to_owned())?;
        }
        is_told_right(cluster, None).context("the pod")
    })
}

/// That what the kubelet tells of a container, or of the pod, is what its cgroup does.
fn is_told_right(cluster: &Cluster<'_>, container: Option<&str>) -> Result<()> {
    let cgroup = match container {
        Some(name) => cluster.id_of("steady", name)?,
        None => format!("pod{}", cluster.get("pod/steady", "{.metadata.uid}")?),
    };
    super::wait_until(|| {
        let told = of_summary(cluster, container)?;
        told.is_about(&Use::of_cgroup(cluster.test, &cgroup)?)
    })
}

fn of_summary(cluster: &Cluster<'_>, container: Option<&str>) -> Result<Use> {
    // The API server does not pass requests on to loopback. The kubelet looks at no token, but
    // without one kubectl would ask for a name.
    let script = "kubectl --kubeconfig=/dev/null --server=https://127.0.0.1:10250 \
                  --insecure-skip-tls-verify --token=none get --raw /stats/summary";
    let output = cluster.test.exec(&["sh", "-c", script])?.expect(0)?;
    let summary: Value = serde_json::from_str(&output.stdout)?;
    let pods = summary["pods"].as_array().context("no pods")?;
    let pod = pods
        .iter()
        .find(|pod| pod["podRef"]["namespace"] == cluster.namespace.as_str())
        .context("the pod is not told")?;
    let part = match container {
        Some(name) => {
            let containers = pod["containers"].as_array().context("no containers")?;
            let found = containers.iter().find(|one| one["name"] == name);
            found.context("the container is not told")?
        }
        None => pod,
    };
    let number = |value: &Value| value.as_u64().with_context(|| part.to_string());
    Ok(Use {
        processor: number(&part["cpu"]["usageCoreNanoSeconds"])?,
        memory: number(&part["memory"]["workingSetBytes"])?,
    })
}
