//! A cluster of one node: what its users do, with guests and, where they must behave the same, with
//! Linux programs and runc.

mod failures;
mod limits;
mod nodes;
mod pods;
mod probes;
mod stats;
mod streams;
mod workloads;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::pods::faults::handler;
use super::pods::pid_of;
use super::{Case, wait_until};
use crate::command::{LIMIT, Running};
use crate::mode::Mode;
use crate::test::Test;

/// The cases of all files.
pub fn all() -> Vec<Case> {
    [
        workloads::all(),
        streams::all(),
        pods::all(),
        probes::all(),
        failures::all(),
        limits::all(),
        nodes::all(),
        stats::all(),
    ]
    .concat()
}

/// What the kubelet may take beside what a container needs: it looks once a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A case's own namespace of the cluster. It is removed after the case.
struct Cluster<'a> {
    test: &'a Test<'a>,
    namespace: String,
}

impl<'a> Cluster<'a> {
    /// Has `act` with a new namespace, and says what was in it if that fails.
    fn with(test: &'a Test<'a>, act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let namespace = test.namespace();
        let words = ["kubectl", "create", "namespace", &namespace];
        test.exec(&words)?.expect(0)?;
        let cluster = Self { test, namespace };
        // No pod is taken before.
        cluster.kubectl(&["wait", "--for=create", "serviceaccount/default"])?;
        act(&cluster).map_err(|error| error.context(cluster.picture()))
    }

    fn words<'b>(&'b self, words: &[&'b str]) -> Vec<&'b str> {
        [&["kubectl", "--namespace", &self.namespace], words].concat()
    }

    /// Runs `kubectl`, which must succeed, and returns what it printed, without the last newline.
    fn kubectl(&self, words: &[&str]) -> Result<String> {
        let output = self.test.exec(&self.words(words))?.expect(0)?;
        Ok(output.stdout.trim_end().to_owned())
    }

    /// Starts `kubectl`.
    fn start(&self, words: &[&str]) -> Result<Running> {
        self.test.start(&self.words(words))
    }

    /// Makes an object, or makes it what it is to be now.
    fn apply(&self, object: &Value) -> Result<()> {
        let mut running = self.start(&["apply", "--filename", "-"])?;
        running.write(&object.to_string())?;
        running.close_stdin();
        running.finish(LIMIT)?.expect(0)?;
        Ok(())
    }

    /// Makes a pod.
    fn pod(&self, name: &str, spec: Value) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name },
            "spec": self.spec(spec),
        }))
    }

    /// Makes a pod of one container, and waits until that is ready.
    fn running_pod(&self, name: &str, container: Value) -> Result<()> {
        self.pod(name, json!({ "containers": [container] }))?;
        self.wait(&format!("pod/{name}"), "condition=Ready")
    }

    /// What pods have of a mode, beside what is told.
    fn spec(&self, mut spec: Value) -> Value {
        match class_of(self.test.mode) {
            Some(class) if spec.get("runtimeClassName").is_none() => {
                spec["runtimeClassName"] = json!(class);
            }
            _ => {}
        }
        // A Linux program that handles no signal uses it up.
        if spec.get("terminationGracePeriodSeconds").is_none() {
            spec["terminationGracePeriodSeconds"] = json!(1);
        }
        spec
    }

    /// A container with the guests, or with the same built for Linux.
    fn guest(&self, name: &str, command: &[&str]) -> Value {
        container(name, self.test.mode.image(), command)
    }

    /// Waits for what `kubectl wait --for` knows.
    fn wait(&self, object: &str, what: &str) -> Result<()> {
        let (what, limit) = (
            format!("--for={what}"),
            format!("--timeout={}s", PATIENCE.as_secs()),
        );
        let running = self.start(&["wait", &what, object, &limit])?;
        running.finish(PATIENCE + LIMIT)?.expect(0)?;
        Ok(())
    }

    /// What an object tells by a JSON path.
    fn get(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "--output", &format!("jsonpath={path}")])
    }

    /// The id that containerd has for a container of a pod.
    fn id_of(&self, pod: &str, container: &str) -> Result<String> {
        let path = format!("{{.status.containerStatuses[?(@.name==\"{container}\")].containerID}}");
        let id = self.get(&format!("pod/{pod}"), &path)?;
        let id = id
            .strip_prefix("containerd://")
            .with_context(|| id.clone())?;
        Ok(id.to_owned())
    }

    /// Waits until the events of a pod, as `kubectl describe` tells them, hold a text.
    fn wait_for_event(&self, pod: &str, text: &str) -> Result<()> {
        wait_until(|| {
            let seen = self.kubectl(&["describe", "pod", pod])?;
            ensure!(seen.contains(text), "no `{text}` in\n{seen}");
            Ok(())
        })
    }

    /// What is in the namespace, for a message.
    fn picture(&self) -> String {
        let script = format!(
            "kubectl -n {0} get pods -o wide; kubectl -n {0} get events --sort-by=.lastTimestamp \
             -o custom-columns=OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message | tail",
            self.namespace
        );
        match self.test.exec(&["sh", "-c", &script]) {
            Ok(output) => format!("in the cluster:\n{}", output.stdout),
            Err(error) => format!("the cluster does not answer: {error:#}"),
        }
    }
}

/// A container of an image that is on the node.
fn container(name: &str, image: &str, command: &[&str]) -> Value {
    json!({ "name": name, "image": image, "imagePullPolicy": "Never", "command": command })
}

/// A Linux program beside a guest.
fn sidecar(command: &[&str]) -> Value {
    container("sidecar", Mode::Runc.image(), command)
}

/// The RuntimeClass of a mode, named as its handler; none for runc.
fn class_of(mode: Mode) -> Option<&'static str> {
    (mode != Mode::Runc).then(|| handler(mode.server()))
}
