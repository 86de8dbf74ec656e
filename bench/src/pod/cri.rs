//! Pods of one container, by CRI's gRPC API and by its client for the command line.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::grpc::Connection;
use crate::messages::{Empty, cri};
use crate::peer::Peer;

const SOCKET: &str = "/run/containerd/containerd.sock";
/// What every pod of the benchmarks is labelled with.
const LABEL: (&str, &str) = ("trireme.test/bench", "pod");
const NAME: &str = "sleeper";
/// How many are removed at a time: each costs a few processes.
const AT_A_TIME: usize = 10;
/// What its container runs.
const COMMAND: [&str; 2] = ["/sleep.wasm", "1000"];
/// Each container has a pid namespace of its own, as Kubernetes asks for by default.
const APART: cri::Namespaces = cri::Namespaces { pid: 1 };
/// A pause container has containerd's own filter, whatever those beside it have
/// (`pkg/kubelet/kuberuntime/kuberuntime_sandbox.go`).
const RUNTIME_DEFAULT: cri::Profile = cri::Profile { kind: 0 };

const RUN: &str = "/runtime.v1.RuntimeService/RunPodSandbox";
const STOP: &str = "/runtime.v1.RuntimeService/StopPodSandbox";
const REMOVE: &str = "/runtime.v1.RuntimeService/RemovePodSandbox";
const LIST: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
const CREATE: &str = "/runtime.v1.RuntimeService/CreateContainer";
const START: &str = "/runtime.v1.RuntimeService/StartContainer";

/// A client of CRI; the pods' logs and configurations are in a folder.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    folder: PathBuf,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When containerd does not listen.
    pub async fn open(folder: &Path) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(SOCKET, None).await?,
            folder: folder.to_owned(),
        })
    }

    /// Makes a pod and starts its container; returns how long that took.
    ///
    /// # Errors
    ///
    /// When a call fails; what there is of the pod goes with [`Self::clear`].
    pub async fn run(&self, peer: &Peer, name: &str) -> Result<Duration> {
        let config = self.pod_config(name);
        let run = cri::RunPodSandbox {
            config: Some(config.clone()),
            runtime_handler: handler(peer)?.to_owned(),
        };
        let create = cri::CreateContainer {
            pod: String::new(),
            config: Some(container_config(peer, name)),
            pod_config: Some(config),
        };
        let begin = Instant::now();
        let pod: cri::Pod = self.connection.call(RUN, run).await?;
        let create = cri::CreateContainer {
            pod: pod.id,
            ..create
        };
        let container: cri::Container = self.connection.call(CREATE, create).await?;
        let _: Empty = self.connection.call(START, container).await?;
        Ok(begin.elapsed())
    }

    /// The same by `crictl run`.
    ///
    /// # Errors
    ///
    /// When it fails; what there is of the pod goes with [`Self::clear`].
    pub fn run_by_crictl(&self, peer: &Peer, name: &str) -> Result<Duration> {
        let options = json!({ "namespace_options": { "pid": APART.pid } });
        let mut pod_options = options.clone();
        pod_options["seccomp"] = json!({ "profile_type": RUNTIME_DEFAULT.kind });
        let pod = json!({
            "metadata": { "name": name, "uid": name, "namespace": "default", "attempt": 1 },
            "log_directory": self.folder,
            "labels": { LABEL.0: LABEL.1 },
            "linux": { "security_context": pod_options },
        });
        let container = json!({
            "metadata": { "name": NAME },
            "image": { "image": peer.image },
            "command": COMMAND,
            "log_path": format!("{name}.log"),
            "linux": { "security_context": options },
        });
        let file = |kind: &str| self.folder.join(format!("{kind}.json"));
        let (pod_file, container_file) = (file("pod"), file("container"));
        fs::write(&pod_file, pod.to_string()).context("write the pod's configuration")?;
        fs::write(&container_file, container.to_string())
            .context("write the container's configuration")?;
        let mut command = crictl();
        command
            .args(["run", "--no-pull", "--runtime"])
            .arg(handler(peer)?)
            .args([container_file, pod_file])
            .stdin(Stdio::null());
        let begin = Instant::now();
        let output = command.output().context("run crictl")?;
        let time = begin.elapsed();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`crictl run` failed, {}: {}", output.status, text.trim());
        }
        Ok(time)
    }

    /// Stops and removes every pod of this benchmark.
    ///
    /// # Errors
    ///
    /// When one does not go.
    pub async fn clear(&self) -> Result<()> {
        let filter = cri::Filter { labels: labels() };
        let list = cri::List {
            filter: Some(filter),
        };
        let pods: cri::Pods = self.connection.call(LIST, list).await?;
        let mut result = Ok(());
        for pods in pods.items.chunks(AT_A_TIME) {
            let ends = pods.iter().cloned().map(|pod| {
                let connection = self.connection.clone();
                tokio::spawn(async move {
                    let _: Empty = connection.call(STOP, pod.clone()).await?;
                    let _: Empty = connection.call(REMOVE, pod).await?;
                    anyhow::Ok(())
                })
            });
            for end in ends.collect::<Vec<_>>() {
                result = result.and(end.await.context("remove a pod")?);
            }
        }
        result
    }

    fn pod_config(&self, name: &str) -> cri::PodConfig {
        cri::PodConfig {
            metadata: Some(cri::PodMetadata {
                name: name.to_owned(),
                uid: name.to_owned(),
                namespace: "default".to_owned(),
                attempt: 1,
            }),
            log_directory: self.folder.display().to_string(),
            labels: labels(),
            linux: Some(cri::PodLinux {
                security_context: Some(cri::PodSecurity {
                    namespace_options: Some(APART),
                    seccomp: Some(RUNTIME_DEFAULT),
                }),
            }),
        }
    }
}

fn container_config(peer: &Peer, name: &str) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: NAME.to_owned(),
        }),
        image: Some(cri::Image {
            image: peer.image.clone(),
        }),
        command: COMMAND.map(str::to_owned).into(),
        log_path: format!("{name}.log"),
        linux: Some(cri::ContainerLinux {
            security_context: Some(cri::ContainerSecurity {
                namespace_options: Some(APART),
            }),
        }),
    }
}

/// The client for the command line, which waits for as long as this machine may need.
pub fn crictl() -> Command {
    let mut command = Command::new("crictl");
    command.args(["--runtime-endpoint", &format!("unix://{SOCKET}")]);
    command.args(["--timeout", "60s"]);
    command
}

fn labels() -> HashMap<String, String> {
    HashMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())])
}

fn handler(peer: &Peer) -> Result<&str> {
    let handler = peer.cri_handler.as_deref();
    handler.context("CRI has no handler for it")
}
