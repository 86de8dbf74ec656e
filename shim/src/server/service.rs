//! The task service: containerd's calls on the containers of this server.
//!
//! `containerd.task.v2.Task` and `containerd.task.v3.Task` differ in the
//! package's name alone and are one implementation here.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use async_trait::async_trait;
use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
use containerd_shim_protos::shim_async::{Task, create_task};
use tokio::sync::Notify;
use trireme_container::cgroup::Layout;
use trireme_core::config::ServerMode;
use trireme_core::lifecycle::State;
use trireme_core::plan::TerminalSize;
use trireme_core::spec::oci::LinuxResources;
use ttrpc::r#async::TtrpcContext;

use super::abandon::{self, Abandon};
use super::code::CodeStore;
use super::container::Container;
use super::create::Maker;
use super::error::ServiceError;
use super::events::Events;
use super::process::{Process, lock};
use crate::folder::STARTING;
use crate::install;
use crate::newcomers;
use crate::order::Order;
use crate::wire::api::{self, Empty};
use crate::wire::events::{Event, task_events};
use crate::wire::{stats, timestamp};

/// The names under which the service is offered.
const NAMES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// A container, or the promise of one.
enum Slot {
    Making(Arc<Abandon>),
    Made(Arc<Container>),
}

/// The state of a server.
pub struct Service {
    maker: Maker,
    events: Events,
    slots: Mutex<HashMap<String, Slot>>,
    changed: Notify,
    shutdown: Notify,
}

/// The methods of a service under every name.
pub fn methods(service: &Arc<Service>) -> HashMap<String, ttrpc::asynchronous::Service> {
    let task = Arc::new(Tasks(service.clone()));
    NAMES
        .into_iter()
        .flat_map(|name| {
            create_task(task.clone())
                .into_values()
                .map(move |methods| (name.to_owned(), methods))
        })
        .collect()
}

impl Service {
    /// A server without containers.
    ///
    /// # Errors
    ///
    /// When the host's cgroups cannot be seen or the installation is broken.
    pub fn new(order: Order) -> anyhow::Result<Self> {
        let executor = pinned(&install::beside(install::EXECUTOR)?)?;
        Ok(Service {
            events: Events::start(order.events.clone(), &order.namespace),
            maker: Maker {
                layout: Layout::detect()?,
                code: CodeStore::new(order.clone(), executor.clone()),
                executor,
                order,
            },
            slots: Mutex::default(),
            changed: Notify::new(),
            shutdown: Notify::new(),
        })
    }

    /// What the server was started with.
    pub fn order(&self) -> &Order {
        &self.maker.order
    }

    /// The events on their way.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Whether there is no container.
    pub fn is_empty(&self) -> bool {
        lock(&self.slots).is_empty()
    }

    /// Waits for a container to come or to go.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits for containerd to ask a server of a pod to shut down.
    pub async fn shutdown_asked(&self) {
        self.shutdown.notified().await;
    }

    fn get(&self, id: &str) -> Result<Arc<Container>, ServiceError> {
        match lock(&self.slots).get(id) {
            Some(Slot::Made(container)) => Ok(container.clone()),
            _ => Err(ServiceError::NotFound("container not created".into())),
        }
    }

    /// A container and a process of it: init, where the second id is empty.
    fn process(
        &self,
        id: &str,
        exec_id: &str,
    ) -> Result<(Arc<Container>, Arc<Process>), ServiceError> {
        let container = self.get(id)?;
        let process = container.process(exec_id)?;
        Ok((container, process))
    }

    /// Ends the making of a container whose client has given up on it: Delete
    /// is what containerd calls then, and its clean-up after a restart. Returns
    /// when there is nothing half-made any more.
    async fn abandon(&self, id: &str) {
        let making = match lock(&self.slots).get(id) {
            Some(Slot::Making(abandon)) => abandon.clone(),
            _ => return,
        };
        making.ask().await;
    }

    async fn create(&self, request: &api::CreateTaskRequest) -> Result<u32, ServiceError> {
        let id = &request.id;
        let (abandon, abandoned) = abandon::pair();
        {
            let mut slots = lock(&self.slots);
            if slots.contains_key(id) {
                return Err(ServiceError::AlreadyExists(format!(
                    "container {id} exists already"
                )));
            }
            slots.insert(id.clone(), Slot::Making(Arc::new(abandon)));
        }
        self.changed.notify_one();
        newcomers::unmark(&self.order().dir);
        let _ = std::fs::remove_file(self.order().dir.join(STARTING).join(id));
        let made = self.maker.create(request, &abandoned).await;
        let result = match made {
            Ok(container) => {
                let pid = container.pid();
                lock(&self.slots).insert(id.clone(), Slot::Made(container.clone()));
                self.events.send(&created(request, pid));
                tokio::spawn(container.watch(self.events.clone()));
                Ok(pid)
            }
            Err(error) => {
                lock(&self.slots).remove(id);
                Err(error)
            }
        };
        self.changed.notify_one();
        result
    }

    async fn delete(&self, container: &Container) -> Result<api::DeleteResponse, ServiceError> {
        let exit = container.delete().await?;
        {
            let mut slots = lock(&self.slots);
            // The id may belong to another container by now.
            if matches!(slots.get(&container.id), Some(Slot::Made(made)) if std::ptr::eq(&**made, container))
            {
                slots.remove(&container.id);
            }
        }
        self.changed.notify_one();
        let (id, pid) = (container.id.clone(), container.pid());
        self.events.send(&Event::Delete { id, pid, exit });
        Ok(api::DeleteResponse {
            pid,
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }
}

/// A path that leads to this very file for as long as the server lives, whatever
/// an upgrade puts in its place: code is filed under the build that made it.
fn pinned(program: &Path) -> anyhow::Result<PathBuf> {
    // Above the numbers that spawned processes find their own descriptors at.
    const FLOOR: i32 = 10;
    let file = File::open(program).with_context(|| format!("cannot open {}", program.display()))?;
    let pinned = rustix::io::fcntl_dupfd_cloexec(&file, FLOOR)?;
    // Kept open to the end of the process.
    Ok(PathBuf::from(format!(
        "/proc/self/fd/{}",
        pinned.into_raw_fd()
    )))
}

fn created(request: &api::CreateTaskRequest, pid: u32) -> Event {
    Event::Create(Box::new(task_events::TaskCreate {
        container_id: request.id.clone(),
        bundle: request.bundle.clone(),
        rootfs: request.rootfs.clone(),
        io: MessageField::some(task_events::TaskIO {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
            ..Default::default()
        }),
        checkpoint: request.checkpoint.clone(),
        pid,
        ..Default::default()
    }))
}

fn status(state: State) -> api::Status {
    match state {
        State::Created => api::Status::CREATED,
        State::Running => api::Status::RUNNING,
        State::Paused => api::Status::PAUSED,
        State::Stopped(_) => api::Status::STOPPED,
    }
}

/// The service as ttrpc calls it.
struct Tasks(Arc<Service>);

impl Tasks {
    /// Runs a call to its end even if the client stops waiting for it: half a
    /// container helps nobody.
    async fn to_its_end<T, F>(&self, call: impl FnOnce(Arc<Service>) -> F) -> ttrpc::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        match tokio::spawn(call(self.0.clone())).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ServiceError::Setup(error.to_string()).into()),
        }
    }
}

#[async_trait]
impl Task for Tasks {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> ttrpc::Result<api::CreateTaskResponse> {
        let pid = self
            .to_its_end(|service| async move { service.create(&request).await })
            .await?;
        Ok(api::CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> ttrpc::Result<api::StartResponse> {
        let (container, process) = self.0.process(&request.id, &request.exec_id)?;
        let pid = process.pid();
        self.to_its_end(|service| async move { container.start(service.events()).await })
            .await?;
        Ok(api::StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> ttrpc::Result<api::StateResponse> {
        let (container, process) = self.0.process(&request.id, &request.exec_id)?;
        let state = process.state();
        let mut response = api::StateResponse {
            id: container.id.clone(),
            bundle: container.bundle.display().to_string(),
            pid: process.pid(),
            status: EnumOrUnknown::new(status(state)),
            stdin: process.streams.stdin.clone(),
            stdout: process.streams.stdout.clone(),
            stderr: process.streams.stderr.clone(),
            terminal: process.streams.terminal,
            ..Default::default()
        };
        if let Some(exit) = state.exit() {
            response.exit_status = exit.status;
            response.exited_at = MessageField::some(timestamp(exit.at));
        }
        Ok(response)
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> ttrpc::Result<api::DeleteResponse> {
        if request.exec_id.is_empty() {
            self.0.abandon(&request.id).await;
        }
        let (container, _) = self.0.process(&request.id, &request.exec_id)?;
        self.to_its_end(|service| async move { service.delete(&container).await })
            .await
    }

    async fn pids(
        &self,
        _: &TtrpcContext,
        request: api::PidsRequest,
    ) -> ttrpc::Result<api::PidsResponse> {
        let processes = self
            .0
            .get(&request.id)?
            .pids()?
            .into_iter()
            .map(|pid| api::ProcessInfo {
                pid,
                ..Default::default()
            })
            .collect();
        Ok(api::PidsResponse {
            processes,
            ..Default::default()
        })
    }

    async fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> ttrpc::Result<Empty> {
        let container = self.0.get(&request.id)?;
        self.to_its_end(|service| async move { container.pause(service.events()).await })
            .await?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> ttrpc::Result<Empty> {
        let container = self.0.get(&request.id)?;
        self.to_its_end(|service| async move { container.resume(service.events()).await })
            .await?;
        Ok(Empty::new())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        request: api::CheckpointTaskRequest,
    ) -> ttrpc::Result<Empty> {
        self.0.get(&request.id)?;
        Err(ServiceError::Unimplemented("a Wasm guest cannot be checkpointed".into()).into())
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<Empty> {
        let (container, process) = self.0.process(&request.id, &request.exec_id)?;
        container.kill(&process, request.signal)?;
        Ok(Empty::new())
    }

    async fn exec(
        &self,
        _: &TtrpcContext,
        request: api::ExecProcessRequest,
    ) -> ttrpc::Result<Empty> {
        self.0.get(&request.id)?;
        let reason = "exec into a Wasm container is not supported";
        Err(ServiceError::Unimplemented(reason.into()).into())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: api::ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        let side = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let size = TerminalSize {
            width: side(request.width),
            height: side(request.height),
        };
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        process.resize(size)?;
        Ok(Empty::new())
    }

    async fn close_io(
        &self,
        _: &TtrpcContext,
        request: api::CloseIORequest,
    ) -> ttrpc::Result<Empty> {
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.close_stdin();
        }
        Ok(Empty::new())
    }

    async fn update(
        &self,
        _: &TtrpcContext,
        request: api::UpdateTaskRequest,
    ) -> ttrpc::Result<Empty> {
        let container = self.0.get(&request.id)?;
        let resources: LinuxResources = serde_json::from_slice(&request.resources.value)
            .map_err(|error| ServiceError::InvalidArgument(format!("resources: {error}")))?;
        container.update(resources).await?;
        Ok(Empty::new())
    }

    async fn wait(
        &self,
        _: &TtrpcContext,
        request: api::WaitRequest,
    ) -> ttrpc::Result<api::WaitResponse> {
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        let exit = process.wait().await;
        Ok(api::WaitResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn stats(
        &self,
        _: &TtrpcContext,
        request: api::StatsRequest,
    ) -> ttrpc::Result<api::StatsResponse> {
        let accounts = self
            .0
            .get(&request.id)?
            .cgroup
            .stats()
            .map_err(ServiceError::from)?;
        Ok(api::StatsResponse {
            stats: MessageField::some(stats::any(&accounts)),
            ..Default::default()
        })
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: api::ConnectRequest,
    ) -> ttrpc::Result<api::ConnectResponse> {
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self
                .0
                .get(&request.id)
                .map_or(0, |container| container.pid()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    /// A server of the node outlives what it serves; one of a pod ends with
    /// the last container.
    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> ttrpc::Result<Empty> {
        if self.0.order().mode == ServerMode::PerPod && self.0.is_empty() {
            self.0.shutdown.notify_one();
        }
        Ok(Empty::new())
    }
}
