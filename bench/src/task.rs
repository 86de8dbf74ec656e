//! Containers by containerd's gRPC API, as a client of it makes them: container, snapshot, task,
//! and all of them away again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use prost::Message;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::task::JoinHandle;

use crate::command;
use crate::grpc::Connection;
use crate::messages::{Any, Empty, RuncOptions, containers, snapshots, tasks};
use crate::peer::Peer;

/// containerd's socket.
const SOCKET: &str = "/run/containerd/containerd.sock";
/// The namespace that `ctr` has too.
const NAMESPACE: &str = "default";
const SNAPSHOTTER: &str = "overlayfs";
/// The name of the container that templates are read from.
const TEMPLATE: &str = "bench-template";
/// What ends a process whatever it does, by its number.
pub const SIGKILL: u32 = 9;

const CREATE_CONTAINER: &str = "/containerd.services.containers.v1.Containers/Create";
const DELETE_CONTAINER: &str = "/containerd.services.containers.v1.Containers/Delete";
const PREPARE: &str = "/containerd.services.snapshots.v1.Snapshots/Prepare";
const REMOVE: &str = "/containerd.services.snapshots.v1.Snapshots/Remove";
const CREATE: &str = "/containerd.services.tasks.v1.Tasks/Create";
const START: &str = "/containerd.services.tasks.v1.Tasks/Start";
const WAIT: &str = "/containerd.services.tasks.v1.Tasks/Wait";
const KILL: &str = "/containerd.services.tasks.v1.Tasks/Kill";
const DELETE: &str = "/containerd.services.tasks.v1.Tasks/Delete";

/// What all containers of a peer have in common: what `ctr` would have made of them.
#[derive(Debug, Clone)]
pub struct Template {
    spec: Value,
    parent: String,
    image: String,
    runtime: String,
    options: Option<Any>,
}

impl Template {
    /// Reads it from a container that `ctr` makes and removes.
    ///
    /// # Errors
    ///
    /// When `ctr` fails, as it does where there is no such image.
    pub fn of(peer: &Peer) -> Result<Self> {
        let mut create = vec!["container", "create", "--runtime", &peer.runtime];
        let flags = peer.flags();
        create.extend(flags.iter().map(String::as_str));
        // Or flags among the arguments would be taken for its own.
        create.extend(["--", peer.image.as_str(), TEMPLATE]);
        create.extend(peer.arguments.iter().map(String::as_str));
        // Of a run that was killed, if there is one.
        let _ = ctr(&["container", "delete", TEMPLATE]);
        ctr(&create)?;
        let seen = || {
            let container: Value = serde_json::from_str(&ctr(&["container", "info", TEMPLATE])?)?;
            let snapshot: Value = serde_json::from_str(&ctr(&["snapshot", "info", TEMPLATE])?)?;
            let spec = &container["Spec"];
            ensure!(spec["process"].is_object(), "no specification: {container}");
            let parent = snapshot["Parent"].as_str().context("no parent")?;
            Ok((spec.clone(), parent.to_owned()))
        };
        let seen: Result<_> = seen();
        let removed = ctr(&["container", "delete", TEMPLATE]);
        let (spec, parent) = seen.context("read a container that ctr has made")?;
        removed?;
        Ok(Self {
            spec,
            parent,
            image: peer.image.clone(),
            runtime: peer.runtime.clone(),
            options: peer.runc_binary.as_deref().map(run_by),
        })
    }

    fn spec(&self, id: &str) -> Result<Any> {
        let mut spec = self.spec.clone();
        if spec["linux"]["cgroupsPath"].is_string() {
            spec["linux"]["cgroupsPath"] = format!("/{NAMESPACE}/{id}").into();
        }
        Ok(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
            value: serde_json::to_vec(&spec)?,
        })
    }
}

/// The options that make runc's shim run another program.
fn run_by(binary: &str) -> Any {
    let binary_name = binary.to_owned();
    Any {
        type_url: "containerd.runc.v1.Options".to_owned(),
        value: RuncOptions { binary_name }.encode_to_vec(),
    }
}

fn ctr(words: &[&str]) -> Result<String> {
    command::run(Command::new("ctr").args(words))
}

/// What makes calls: one thread, so that the clients take as little of the machine as can be.
///
/// # Errors
///
/// When the kernel has no descriptors left.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("start the runtime")
}

/// How long one container took, from the first call on.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Until the first byte of its output, where it printed any.
    pub first_byte: Option<Duration>,
    /// Until it was gone, the answer to the last call.
    pub gone: Duration,
    /// The parts of that which are the task's, as [`PARTS`] names them.
    pub parts: [Duration; PARTS.len()],
}

/// What a task's time is made of: a short name, and from where to where it is measured.
pub const PARTS: [(&str, &str); 4] = [
    ("create", "Create of the task: from the call to its answer"),
    ("start", "Start of the task: from the call to its answer"),
    ("exit", "From the answer to Start until the exit is told"),
    ("delete", "Delete of the task: from the call to its answer"),
];

/// A client of containerd.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    streams: PathBuf,
}

impl Client {
    /// Connects; the containers' streams are in this folder.
    ///
    /// # Errors
    ///
    /// When containerd does not listen.
    pub async fn open(streams: &Path) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(SOCKET, Some(NAMESPACE)).await?,
            streams: streams.to_owned(),
        })
    }

    /// Runs one container to its end, which must be 0.
    ///
    /// # Errors
    ///
    /// When a call fails or the container does; nothing of it is left.
    pub async fn run(&self, template: &Template, id: &str) -> Result<Times> {
        let streams = Streams::make(&self.streams, id)?;
        let result = self.run_through(template, id, &streams).await;
        if result.is_err() {
            self.remove(id).await;
        }
        result
    }

    async fn run_through(&self, template: &Template, id: &str, out: &Streams) -> Result<Times> {
        let spec = template.spec(id)?;
        let begin = Instant::now();
        self.create_container(template, id, spec).await?;
        let prepare = snapshots::Prepare {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: id.to_owned(),
            parent: template.parent.clone(),
        };
        let snapshots::Mounts { mounts } = self.connection.call(PREPARE, prepare).await?;
        let create = tasks::Create {
            container_id: id.to_owned(),
            rootfs: mounts,
            stdout: out.stdout.display().to_string(),
            stderr: out.stderr.display().to_string(),
            options: template.options.clone(),
        };
        let mut marks = [Instant::now(); PARTS.len() + 1];
        let _: Empty = self.connection.call(CREATE, create).await?;
        marks[1] = Instant::now();
        let connection = self.connection.clone();
        let waiting = named(id);
        let wait = tokio::spawn(async move { connection.call(WAIT, waiting).await });
        let started: Result<Empty> = self.connection.call(START, named(id)).await;
        if let Err(error) = started {
            wait.abort();
            return Err(error);
        }
        marks[2] = Instant::now();
        let exit: tasks::Exit = wait.await.context("wait for the task")??;
        marks[3] = Instant::now();
        let _: Empty = self.connection.call(DELETE, named(id)).await?;
        marks[4] = Instant::now();
        // In this order: what no container names, containerd may remove by itself.
        let _: Empty = self.connection.call(REMOVE, snapshot(id)).await?;
        let delete = containers::Delete { id: id.to_owned() };
        let _: Empty = self.connection.call(DELETE_CONTAINER, delete).await?;
        let gone = begin.elapsed();
        let status = exit.exit_status;
        ensure!(status == 0, "the container ended with {status}");
        Ok(Times {
            first_byte: out.first_byte().map(|first| first.duration_since(begin)),
            gone,
            parts: std::array::from_fn(|part| marks[part + 1] - marks[part]),
        })
    }

    async fn create_container(&self, template: &Template, id: &str, spec: Any) -> Result<()> {
        let container = containers::Container {
            id: id.to_owned(),
            labels: Default::default(),
            image: template.image.clone(),
            runtime: Some(containers::Runtime {
                name: template.runtime.clone(),
                options: template.options.clone(),
            }),
            spec: Some(spec),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: id.to_owned(),
        };
        let container = Some(container);
        let create = containers::Create { container };
        let _: Empty = self.connection.call(CREATE_CONTAINER, create).await?;
        Ok(())
    }

    /// Removes all that there may be of a container.
    async fn remove(&self, id: &str) {
        let kill = tasks::Kill {
            container_id: id.to_owned(),
            signal: SIGKILL,
            all: true,
        };
        let calls = &self.connection;
        if calls.call::<_, Empty>(KILL, kill).await.is_ok() {
            let _ = calls.call::<_, tasks::Exit>(WAIT, named(id)).await;
        }
        let _ = calls.call::<_, Empty>(DELETE, named(id)).await;
        let _ = calls.call::<_, Empty>(REMOVE, snapshot(id)).await;
        let delete = containers::Delete { id: id.to_owned() };
        let _ = calls.call::<_, Empty>(DELETE_CONTAINER, delete).await;
    }
}

fn named(id: &str) -> tasks::Named {
    tasks::Named {
        container_id: id.to_owned(),
    }
}

fn snapshot(id: &str) -> snapshots::Remove {
    snapshots::Remove {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: id.to_owned(),
    }
}

/// The FIFOs of one container, which are read all the time; they go when this is dropped.
struct Streams {
    stdout: PathBuf,
    stderr: PathBuf,
    readers: [JoinHandle<()>; 2],
    first: Arc<OnceLock<Instant>>,
}

impl Streams {
    fn make(folder: &Path, id: &str) -> Result<Self> {
        let place = |name: &str| folder.join(format!("{id}-{name}"));
        let (stdout, stderr) = (place("out"), place("err"));
        let first = Arc::new(OnceLock::new());
        let readers = [
            tokio::spawn(read(make_fifo(&stdout)?, Arc::clone(&first))),
            tokio::spawn(read(make_fifo(&stderr)?, Arc::default())),
        ];
        Ok(Self {
            stdout,
            stderr,
            readers,
            first,
        })
    }

    /// When the first byte came, if one did.
    fn first_byte(&self) -> Option<Instant> {
        self.first.get().copied()
    }
}

/// Makes a FIFO, for its owner.
///
/// # Errors
///
/// When there is a file of that name, or no folder for it.
pub fn mkfifo(path: &Path) -> Result<()> {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    nix::unistd::mkfifo(path, mode).with_context(|| format!("make {}", path.display()))
}

/// Makes a FIFO and opens it for both directions, so that its end never comes.
fn make_fifo(path: &Path) -> Result<Receiver> {
    mkfifo(path)?;
    let receiver = OpenOptions::new().read_write(true).open_receiver(path);
    receiver.with_context(|| format!("open {}", path.display()))
}

/// Takes what comes, and notes when the first of it did.
async fn read(mut fifo: Receiver, first: Arc<OnceLock<Instant>>) {
    let mut piece = [0; 4096];
    while fifo.read(&mut piece).await.is_ok_and(|length| length > 0) {
        first.get_or_init(Instant::now);
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
        for fifo in [&self.stdout, &self.stderr] {
            let _ = fs::remove_file(fifo);
        }
    }
}
