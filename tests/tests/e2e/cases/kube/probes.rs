//! Probes of each sort, as the kubelet makes them: from outside by HTTP and TCP, inside by exec.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::cases;
use super::Cluster;
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [
        ready_is_what_its_probes_find_so,
        what_its_probes_find_dead_is_started_again,
    ],
    wasm: [],
}

/// A server at a port with a probe.
fn server(cluster: &Cluster<'_>, name: &str, port: u16, kind: &str, mut probe: Value) -> Value {
    let mut server = cluster.guest(name, &["/talk.wasm", "serve", &port.to_string()]);
    probe["periodSeconds"] = json!(1);
    // Compiling counts.
    probe["timeoutSeconds"] = json!(5);
    server[kind] = probe;
    server
}

fn http(path: &str, port: u16) -> Value {
    json!({ "httpGet": { "path": path, "port": port } })
}

fn tcp(port: u16) -> Value {
    json!({ "tcpSocket": { "port": port } })
}

fn exec(command: &[&str]) -> Value {
    json!({ "exec": { "command": command } })
}

fn ready_is_what_its_probes_find_so(test: &Test<'_>) -> Result<()> {
    const KIND: &str = "readinessProbe";
    Cluster::with(test, |cluster| {
        let containers = json!([
            server(cluster, "http", 8080, KIND, http("/", 8080)),
            server(cluster, "tcp", 8081, KIND, tcp(8081)),
            server(cluster, "exec", 8082, KIND, exec(&["/hello.wasm"])),
            server(
                cluster,
                "shell",
                8083,
                KIND,
                exec(&["/bin/sh", "-c", "test -e /proc/1"])
            ),
        ]);
        cluster.pod("ready", json!({ "containers": containers }))?;
        let containers = json!([
            server(cluster, "http", 8080, KIND, http("/broken", 8080)),
            server(cluster, "tcp", 8081, KIND, tcp(9)),
            server(cluster, "exec", 8082, KIND, exec(&["/exit.wasm", "1"])),
            server(
                cluster,
                "shell",
                8083,
                KIND,
                exec(&["/bin/sh", "-c", "echo leak; exit 3"])
            ),
        ]);
        cluster.pod("unready", json!({ "containers": containers }))?;
        cluster.wait("pod/ready", "condition=Ready")?;
        for (container, failure) in [
            ("http", "HTTP probe failed with statuscode: 500"),
            ("tcp", "connection refused"),
            ("exec", "Readiness probe failed:"),
            ("shell", "Readiness probe failed: leak"),
        ] {
            fails_again_and_again(cluster, container, failure)?;
        }
        let ready = cluster.get("pod/unready", "{.status.containerStatuses[*].ready}")?;
        ensure!(ready == "false false false false", "{ready}");
        Ok(())
    })
}

/// Waits until a probe of the pod `unready` has failed so for a while, and not once alone.
fn fails_again_and_again(cluster: &Cluster<'_>, container: &str, failure: &str) -> Result<()> {
    let of = format!(
        "involvedObject.name=unready,involvedObject.fieldPath=spec.containers{{{container}}}"
    );
    let path = "jsonpath={range .items[*]}{.count} {.message}{\"\\n\"}{end}";
    super::wait_until(|| {
        let seen =
            cluster.kubectl(&["get", "events", "--field-selector", &of, "--output", path])?;
        let often = seen.lines().any(|line| {
            let (count, message) = line.split_once(' ').unwrap_or_default();
            count.parse().is_ok_and(|count: u32| count >= 3) && message.contains(failure)
        });
        ensure!(often, "no `{failure}` three times of {container}: {seen}");
        Ok(())
    })
}

fn what_its_probes_find_dead_is_started_again(test: &Test<'_>) -> Result<()> {
    const KIND: &str = "livenessProbe";
    Cluster::with(test, |cluster| {
        let once = |mut probe: Value| {
            probe["failureThreshold"] = json!(1);
            probe
        };
        let containers = json!([
            server(cluster, "http", 8080, KIND, once(http("/broken", 8080))),
            server(cluster, "tcp", 8081, KIND, once(tcp(9))),
            server(
                cluster,
                "exec",
                8082,
                KIND,
                once(exec(&["/exit.wasm", "1"]))
            ),
        ]);
        cluster.pod("dead", json!({ "containers": containers }))?;
        let alive = json!([
            server(cluster, "http", 8080, KIND, http("/", 8080)),
            server(cluster, "tcp", 8081, KIND, tcp(8081)),
            server(cluster, "exec", 8082, KIND, exec(&["/hello.wasm"])),
        ]);
        cluster.pod("alive", json!({ "containers": alive }))?;
        for container in 0..3 {
            let count = format!("{{.status.containerStatuses[{container}].restartCount}}");
            super::wait_until(|| {
                let seen = cluster.get("pod/dead", &count)?;
                let often = seen.parse().is_ok_and(|count: u32| count >= 2);
                ensure!(often, "container {container}: `{seen}`");
                Ok(())
            })?;
        }
        // A guest ends when it is asked to, where a first process of Linux has to be killed.
        let code = if test.mode == Mode::Runc { 137 } else { 143 };
        let path = "{.status.containerStatuses[*].lastState.terminated['reason','exitCode']}";
        super::wait_until(|| {
            let seen = cluster.get("pod/dead", path)?;
            // The reasons come first.
            let wanted = format!("Error Error Error {code} {code} {code}");
            ensure!(seen == wanted, "{seen}");
            Ok(())
        })?;
        cluster.wait_for_event("dead", "failed liveness probe, will be restarted")?;
        // By now these have been asked often enough to be found dead.
        cluster.wait("pod/alive", "condition=Ready")?;
        let path = "{.status.containerStatuses[*].restartCount}";
        let counts = cluster.get("pod/alive", path)?;
        ensure!(counts == "0 0 0", "{counts}");
        Ok(())
    })
}
