//! Many pods at once. Each is made by a shell of its own, since the client takes its time to start,
//! and all containers are looked at by one call.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::super::wait_until;
use super::sandboxes::server_of;
use super::{CRICTL, crictl};
use crate::command::{Output, Running};
use crate::mode::Mode;
use crate::test::Test;

/// How many pods are made at a time.
pub const AT_A_TIME: usize = 10;
/// How long ten pods may take on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// The part of a configuration, of pods and of containers, by which each container has a pid
/// namespace of its own, as Kubernetes asks for by default.
fn apart() -> Value {
    json!({ "security_context": { "namespace_options": { "pid": 1 } } })
}

/// What a pod is to be.
#[derive(Clone)]
pub struct Plan {
    pub name: String,
    pub handler: String,
    pub containers: Vec<Wanted>,
}

/// What a container is to be. Its name is that of its log, too.
#[derive(Clone)]
pub struct Wanted {
    pub name: &'static str,
    image: &'static str,
    command: Vec<String>,
    resources: Option<Value>,
}

impl Wanted {
    /// A guest.
    pub fn guest(test: &Test<'_>, name: &'static str, command: &[&str]) -> Self {
        Self::of(name, test.mode.image(), command)
    }

    /// A Linux program.
    pub fn linux(name: &'static str, command: &[&str]) -> Self {
        Self::of(name, Mode::Runc.image(), command)
    }

    /// A Linux program that ends with a code when it is asked to.
    pub fn sidecar(code: i32) -> Self {
        let script = format!("trap 'exit {code}' TERM; echo up; sleep 1000 & wait");
        Self::linux("sidecar", &["/bin/sh", "-c", &script])
    }

    fn of(name: &'static str, image: &'static str, command: &[&str]) -> Self {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        Self {
            name,
            image,
            command,
            resources: None,
        }
    }

    /// With limits, as CRI names them.
    pub fn limited(mut self, resources: Value) -> Self {
        self.resources = Some(resources);
        self
    }

    fn config(&self) -> Value {
        let mut linux = apart();
        if let Some(resources) = &self.resources {
            linux["resources"] = resources.clone();
        }
        json!({
            "metadata": { "name": self.name },
            "image": { "image": self.image },
            "command": self.command,
            "log_path": self.name,
            "linux": linux,
        })
    }
}

/// What was made of a plan; of a container that could not be made there is no id.
#[derive(Clone, Debug, Default)]
pub struct Made {
    pub name: String,
    /// The id of the pod, if there is one.
    pub id: String,
    containers: BTreeMap<String, String>,
}

impl Made {
    /// The id of a container.
    pub fn of(&self, name: &str) -> Result<&str> {
        let id = self.containers.get(name);
        Ok(id.with_context(|| format!("no `{name}` in {self:?}"))?)
    }

    /// The ids of all its containers.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.containers.values().map(String::as_str)
    }
}

/// A container as CRI tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub pod: String,
    pub state: String,
    pub reason: String,
    pub code: i64,
    /// Of its first process, 0 once that has ended.
    pub pid: u64,
}

impl Seen {
    pub fn runs(&self) -> bool {
        self.state == "CONTAINER_RUNNING"
    }

    pub fn has_ended(&self) -> bool {
        self.state == "CONTAINER_EXITED"
    }
}

/// All containers that CRI knows, by their ids.
pub type All = BTreeMap<String, Seen>;

/// The pods of a case.
pub struct Fleet<'a> {
    pub test: &'a Test<'a>,
    folder: String,
}

impl<'a> Fleet<'a> {
    /// Has `act` with a folder for the files of pods; afterwards there are neither.
    pub fn with(test: &'a Test<'a>, act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let folder = format!("/run/fleet-of-{}", test.id);
        test.exec(&["mkdir", "-p", &folder])?.expect(0)?;
        let fleet = Self { test, folder };
        let result = act(&fleet);
        let removed = fleet.remove_all();
        test.exec(&["rm", "-r", &fleet.folder])?.expect(0)?;
        result.and(removed)
    }

    /// Makes pods, each of which has to run.
    pub fn up(&self, plans: &[Plan]) -> Result<Vec<Made>> {
        let mut all = Vec::new();
        for plans in plans.chunks(AT_A_TIME) {
            let making: Result<Vec<_>> = plans.iter().map(|plan| self.make(plan)).collect();
            for (plan, making) in plans.iter().zip(making?) {
                let output = making.finish(LONG)?.expect(0)?;
                all.push(made(plan, &output));
            }
        }
        Ok(all)
    }

    /// The same of one.
    pub fn one(&self, plan: &Plan) -> Result<Made> {
        let made = self.up(std::slice::from_ref(plan))?.pop();
        made.context("one was made")
    }

    /// Starts to make a pod.
    pub fn make(&self, plan: &Plan) -> Result<Running> {
        let (folder, name) = (&self.folder, &plan.name);
        let pod = json!({
            "metadata": { "name": name, "namespace": "default", "uid": name, "attempt": 1 },
            "log_directory": format!("{folder}/{name}"),
            "linux": apart(),
        });
        let mut script = format!(
            "cri() {{ {} \"$@\"; }}\n\
             cd {folder}; mkdir -p {name}\n\
             echo '{pod}' > {name}.json\n\
             pod=$(cri runp --runtime {} {name}.json); echo \"pod $pod\"\n",
            CRICTL.join(" "),
            plan.handler
        );
        for wanted in &plan.containers {
            let (file, config) = (format!("{name}-{}.json", wanted.name), wanted.config());
            let config = config.to_string().replace('\'', r"'\''");
            write!(
                script,
                "echo '{config}' > {file}\n\
                 id=$(cri create $pod {file} {name}.json); echo \"{} $id\"\n\
                 cri start $id > /dev/null\n",
                wanted.name
            )?;
        }
        self.test.start(&["bash", "-euc", &script])
    }

    /// Adds a container to a pod, and starts it.
    pub fn add(&self, pod: &Made, wanted: &Wanted) -> Result<String> {
        let (folder, name) = (&self.folder, &pod.name);
        let file = format!("{folder}/{name}-{}.json", wanted.name);
        let config = wanted.config().to_string();
        self.test.host.write(&file, &mut config.as_bytes())?;
        let of_pod = format!("{folder}/{name}.json");
        let id = crictl(self.test, &["create", &pod.id, &file, &of_pod])?;
        crictl(self.test, &["start", &id])?;
        Ok(id)
    }

    /// The path of a container's log.
    pub fn log(&self, pod: &Made, container: &str) -> String {
        format!("{}/{}/{container}", self.folder, pod.name)
    }

    /// All containers that there are.
    pub fn look(&self) -> Result<All> {
        look(self.test)
    }

    /// Looks until all is as it has to be.
    pub fn look_until(&self, is_so: impl Fn(&All) -> Result<()>) -> Result<All> {
        wait_until(|| {
            let all = self.look()?;
            is_so(&all).map(|()| all)
        })
    }

    /// The ids of the pods that are ready.
    pub fn ready(&self) -> Result<Vec<String>> {
        let ids = crictl(
            self.test,
            &["pods", "--quiet", "--no-trunc", "--state", "ready"],
        )?;
        Ok(ids.lines().map(str::to_owned).collect())
    }

    /// The process that answers for a container or a pause container: its parent.
    pub fn server(&self, pid: u64) -> Result<u64> {
        let parent = server_of(self.test, &pid.to_string())?;
        parent
            .parse()
            .with_context(|| format!("`{parent}` of {pid}"))
    }

    /// What a program executed in a container prints.
    pub fn exec(&self, id: &str, command: &[&str]) -> Result<String> {
        crictl(self.test, &[&["exec", "--sync", id], command].concat())
    }

    /// That a program is executed in each of these containers.
    pub fn all_execute(&self, ids: &[&str]) -> Result<()> {
        for id in ids {
            let shown = self.exec(id, &["/hello.wasm"])?;
            ensure!(shown == "hello from the guest", "{id}: {shown}");
        }
        Ok(())
    }

    /// Starts containerd again, and waits until its part for Kubernetes answers.
    pub fn start_containerd(&self) -> Result<()> {
        self.test.start_containerd()?;
        wait_until(|| crictl(self.test, &["version"]))
            .context("CRI does not answer")
            .map(drop)
    }

    /// Sends a signal to a process.
    pub fn signal(&self, signal: &str, pid: u64) -> Result<()> {
        let words = ["kill", "-s", signal, &pid.to_string()];
        self.test.exec(&words)?.expect(0)?;
        Ok(())
    }

    /// Stops what is in pods.
    pub fn stop(&self, pods: &[&Made]) -> Result<()> {
        self.stop_all(&pods.iter().flat_map(|pod| pod.ids()).collect::<Vec<_>>())
    }

    /// Stops containers, each of which has five seconds before it is killed.
    pub fn stop_all(&self, ids: &[&str]) -> Result<()> {
        crictl(self.test, &[&["stop", "--timeout", "5"], ids].concat())?;
        Ok(())
    }

    /// Removes pods with what is in them.
    pub fn remove(&self, pods: &[&Made]) -> Result<()> {
        let ids: Vec<_> = pods.iter().map(|pod| pod.id.as_str()).collect();
        crictl(self.test, &[&["rmp", "--force"], &ids[..]].concat())?;
        Ok(())
    }

    /// Starts to remove every pod, as often as it takes.
    pub fn start_removal(&self) -> Result<Running> {
        // An answer that there is none has to be one; a loop ends with the code of its last try.
        let script = format!(
            "until left=$({0} pods --quiet) && [ -z \"$left\" ]; do {0} rmp --all --force >&2; done; true",
            CRICTL.join(" ")
        );
        self.test.start(&["bash", "-uc", &script])
    }

    /// Removes every pod.
    pub fn remove_all(&self) -> Result<()> {
        match self.start_removal()?.finish(LONG) {
            Ok(output) => output.expect(0).map(drop),
            Err(error) => bail!("a pod is stuck: {error:#}"),
        }
    }
}

/// What a shell has told of what it made.
pub fn made(plan: &Plan, output: &Output) -> Made {
    let told = output
        .stdout
        .lines()
        .filter_map(|line| line.split_once(' '));
    let mut made = Made {
        name: plan.name.clone(),
        ..Made::default()
    };
    for (name, id) in told {
        match name {
            "pod" => made.id = id.to_owned(),
            name => drop(made.containers.insert(name.to_owned(), id.to_owned())),
        }
    }
    made
}

/// All containers that CRI tells of.
pub fn look(test: &Test<'_>) -> Result<All> {
    let listed = crictl(test, &["inspect", "--all", "--output", "json"])?;
    // Without any it prints how to call it.
    let containers = match serde_json::from_str(&listed) {
        Ok(Value::Array(containers)) => containers,
        Ok(container) => vec![container],
        Err(_) => Vec::new(),
    };
    let seen = |container: &Value| {
        let (status, info) = (&container["status"], &container["info"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seen = Seen {
            pod: text(&info["sandboxID"]),
            state: text(&status["state"]),
            reason: text(&status["reason"]),
            code: status["exitCode"].as_i64().unwrap_or(-1),
            pid: info["pid"].as_u64().unwrap_or(0),
        };
        (text(&status["id"]), seen)
    };
    Ok(containers.iter().map(seen).collect())
}
