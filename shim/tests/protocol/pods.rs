//! Pods that the server makes itself: each call of the sandbox service before, during and after
//! a pod's life.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use trireme_container::cgroup::{Cgroup, Layout};
use trireme_container::state;
use trireme_tests::protocol::client::{Answer, Client};
use trireme_tests::protocol::json::hex;
use trireme_tests::protocol::methods::{SANDBOX, SANDBOX_METHODS};

use crate::calls::{LIMIT, trials_of};
use crate::server::Server;

const ID: &str = "deck";

/// One trial for each behaviour.
pub fn trials() -> Vec<Trial> {
    trials_of(
        "pods",
        [
            (
                "a_pod_is_made_started_and_ended_once",
                a_pod_is_made_started_and_ended_once,
            ),
            (
                "a_pod_that_is_not_there_is_told_as_such",
                a_pod_that_is_not_there_is_told_as_such,
            ),
            (
                "a_pod_that_was_never_started_is_removed",
                a_pod_that_was_never_started_is_removed,
            ),
            ("what_a_pod_uses_is_told", what_a_pod_uses_is_told),
        ],
    )
}

/// A server that has made no pod yet.
struct Fixture {
    server: Server,
    client: Client,
}

impl Fixture {
    fn new() -> Result<Self> {
        let server = Server::start()?;
        let client = Client::connect(&server.socket(), SANDBOX)?;
        Ok(Self { server, client })
    }

    fn call(&mut self, method: &str) -> Result<Answer> {
        self.client.call(method, &json!({ "sandbox_id": ID }))
    }

    fn done(&mut self, method: &str) -> Result<Value> {
        self.call(method)?.expect().context(method.to_owned())
    }

    /// That a call is refused with this status.
    fn is_refused(&mut self, method: &str, wanted: &str) -> Result<()> {
        let answer = self.call(method)?;
        let is_so = matches!(&answer, Answer::Refusal { status, message }
            if status == wanted && message.contains(ID));
        ensure!(is_so, "{method}: {answer:?}, not {wanted}");
        Ok(())
    }

    /// That the pod is in this state, by `SandboxStatus`.
    fn is(&mut self, state: &str) -> Result<Value> {
        let status = self.done("SandboxStatus")?;
        ensure!(status["state"] == state, "{status}, not {state}");
        Ok(status)
    }

    /// Removes the pod, with which the server goes.
    fn shut_down(mut self) -> Result<()> {
        self.done("ShutdownSandbox")?;
        let status = self.server.left(LIMIT)?;
        ensure!(status.success(), "{status}");
        let left = state::all(&self.server.folder()).unwrap_or_default();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    }
}

fn a_pod_is_made_started_and_ended_once() -> Result<()> {
    let mut pod = Fixture::new()?;
    pod.done("CreateSandbox")?;
    pod.is_refused("CreateSandbox", "ALREADY_EXISTS")?;
    let status = pod.is("SANDBOX_NOTREADY")?;
    ensure!(status.get("pid").is_none(), "{status}");
    // There is nothing to stop, and it can be started still.
    pod.done("StopSandbox")?;
    let started = pod.done("StartSandbox")?;
    pod.is_refused("StartSandbox", "FAILED_PRECONDITION")?;
    let status = pod.is("SANDBOX_READY")?;
    ensure!(status["pid"] == started["pid"], "{status}, not {started}");
    let pid = started["pid"].as_u64().context("a pid")?;
    ensure!(Path::new(&format!("/proc/{pid}")).exists(), "{pid}");
    pod.done("PingSandbox")?;
    let platform = pod.done("Platform")?;
    ensure!(platform["platform"]["os"] == "linux", "{platform}");
    let wait = json!({ "sandbox_id": ID });
    let wait = pod.client.send("WaitSandbox", &wait)?;
    let early = pod.client.answer(&wait, Duration::from_millis(100))?;
    ensure!(early.is_none(), "{early:?}");
    pod.done("StopSandbox")?;
    let end = pod.client.answer(&wait, LIMIT)?;
    let end = end.context("the end was never told")?.expect()?;
    ensure!(end.get("exited_at").is_some(), "{end}");
    let status = pod.is("SANDBOX_NOTREADY")?;
    ensure!(status["exited_at"] == end["exited_at"], "{status}, {end}");
    pod.is_refused("StartSandbox", "FAILED_PRECONDITION")?;
    pod.done("StopSandbox")?;
    pod.done("WaitSandbox")?;
    pod.shut_down()
}

fn a_pod_that_is_not_there_is_told_as_such() -> Result<()> {
    let mut pod = Fixture::new()?;
    for method in SANDBOX_METHODS {
        if !["CreateSandbox", "ShutdownSandbox"].contains(&method) {
            pod.is_refused(method, "NOT_FOUND")?;
        }
    }
    // What is gone has been removed.
    pod.shut_down()
}

fn a_pod_that_was_never_started_is_removed() -> Result<()> {
    let mut pod = Fixture::new()?;
    pod.done("CreateSandbox")?;
    pod.shut_down()
}

fn what_a_pod_uses_is_told() -> Result<()> {
    let mut pod = Fixture::new()?;
    let parent = Parent::make(&pod.server)?;
    let request = json!({ "sandbox_id": ID, "options": {
        "type_url": "type.googleapis.com/runtime.v1.PodSandboxConfig",
        "hex": hex(&parent.config()),
    }});
    pod.client.call("CreateSandbox", &request)?.expect()?;
    pod.done("StartSandbox")?;
    let told = pod.done("SandboxMetrics")?;
    let metrics = &told["metrics"];
    let kind = metrics["data"]["type_url"].as_str().unwrap_or_default();
    ensure!(
        metrics["id"] == ID && kind.starts_with("io.containerd.cgroups.v"),
        "{told}"
    );
    pod.shut_down()
}

/// A cgroup for a pod, as Kubernetes makes it.
struct Parent {
    path: String,
    cgroup: Cgroup,
}

impl Parent {
    fn make(server: &Server) -> Result<Self> {
        let path = server.cgroup(ID);
        let cgroup = Cgroup::at(&Layout::detect()?, &path)?;
        let parent = Self { path, cgroup };
        parent.cgroup.create(None)?;
        Ok(parent)
    }

    /// A `PodSandboxConfig` whose `linux.cgroup_parent` it is.
    fn config(&self) -> Vec<u8> {
        let field = |number: u8, bytes: &[u8]| {
            let mut field = vec![number << 3 | 2, bytes.len() as u8];
            field.extend(bytes);
            field
        };
        field(8, &field(1, self.path.as_bytes()))
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.cgroup.remove();
    }
}
