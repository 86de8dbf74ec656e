//! The containers of this server, from their making to their deletion.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use containerd_shim_protos::protobuf::MessageField;
use tokio::sync::Notify;
use trireme_container::cgroup::Layout;
use trireme_container::process;
use trireme_container::state;
use trireme_core::config::ServerMode;

use super::abandon::{self, Abandon};
use super::ahead::Ahead;
use super::build::EngineBuild;
use super::code::CodeStore;
use super::container::Container;
use super::create::Maker;
use super::error::ServiceError;
use super::events::Events;
use super::filters::Filters;
use super::networks::Networks;
use super::process::{Process, lock};
use super::sandbox::{self, Sandboxes};
use super::tasks::deleted;
use super::zygote::Zygote;
use crate::folder::STARTING;
use crate::install;
use crate::newcomers;
use crate::order::Order;
use crate::wire::api;
use crate::wire::events::{Event, task_events};

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
    ahead: Ahead,
    changed: Arc<Notify>,
    shutdown: Notify,
    /// Whether nothing is made any more.
    is_leaving: AtomicBool,
}

impl Service {
    /// A server without containers.
    ///
    /// # Errors
    ///
    /// When the host's cgroups cannot be seen or the installation is broken.
    pub fn new(order: Order) -> anyhow::Result<Self> {
        let executor = process::open_read_only(&install::beside(install::EXECUTOR)?)?;
        let executor = pinned(executor)?;
        let changed = Arc::new(Notify::new());
        let shim = process::open_read_only(&install::beside(install::SERVER)?)?;
        let build = Arc::new(EngineBuild::of(&order, &executor));
        Ok(Service {
            events: Events::start(order.events.clone(), &order.namespace),
            maker: Maker {
                layout: Layout::detect()?,
                code: CodeStore::new(order.clone(), executor.clone(), build.clone()),
                filters: Filters::new(Path::new(state::ROOT)),
                zygote: Zygote::of(&order, &executor, build),
                networks: Networks::default(),
                executor,
                shim: pinned(shim)?,
                sandboxes: Sandboxes::default(),
                order,
            },
            slots: Mutex::default(),
            ahead: Ahead::new(changed.clone()),
            changed,
            shutdown: Notify::new(),
            is_leaving: AtomicBool::new(false),
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

    /// What makes containers.
    pub fn maker(&self) -> &Maker {
        &self.maker
    }

    /// What was made before its Create.
    pub(super) fn ahead(&self) -> &Ahead {
        &self.ahead
    }

    /// Whether there is neither a container, or some of one, nor a pod of its own.
    pub fn is_empty(&self) -> bool {
        lock(&self.slots).is_empty() && self.ahead.is_empty() && self.maker.sandboxes.is_empty()
    }

    /// Makes nothing from here on, since its folder and its socket have gone: who is still
    /// connected is told so.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    fn refuse_leaving(&self) -> Result<(), ServiceError> {
        let engine = &self.order().engine;
        match self.is_leaving.load(Ordering::Relaxed) {
            true => Err(ServiceError::Setup(format!(
                "the server of handler \"{}\" has just ended, as it had nothing to do; start the \
                 container again",
                engine.handler
            ))),
            false => Ok(()),
        }
    }

    /// Whether there is a container or a pod of this id, or its Create has come.
    pub(super) fn knows(&self, id: &str) -> bool {
        lock(&self.slots).contains_key(id) || self.maker.sandboxes.find(id).is_some()
    }

    /// Waits for a container or a pod to come or to go.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits for containerd to ask a server of a pod to shut down.
    pub async fn shutdown_asked(&self) {
        self.shutdown.notified().await;
    }

    pub(super) fn get(&self, id: &str) -> Result<Arc<Container>, ServiceError> {
        match lock(&self.slots).get(id) {
            Some(Slot::Made(container)) => Ok(container.clone()),
            _ => Err(ServiceError::NotFound("container not created".into())),
        }
    }

    /// What containerd may take for the pid of a container, or of a pod.
    pub(super) fn pid_of(&self, id: &str) -> Option<u32> {
        let container = self.get(id).ok().map(|container| container.pid());
        container.or_else(|| self.pid_of_sandbox(id))
    }

    /// The id that leads to the namespaces of a pod.
    pub(super) fn pid_of_sandbox(&self, id: &str) -> Option<u32> {
        let sandbox = self.maker.sandboxes.find(id)?;
        Some(sandbox.status().pid)
    }

    /// A container and a process of it: init, where the second id is empty.
    pub(super) fn process(
        &self,
        id: &str,
        exec_id: &str,
    ) -> Result<(Arc<Container>, Arc<Process>), ServiceError> {
        let container = self.get(id)?;
        let process = container.process(exec_id)?;
        Ok((container, process))
    }

    /// Ends the making of a container whose client has given up on it: Delete
    /// is what containerd calls then, and its clean-up after a restart; and removes what was made
    /// before a Create that has not come. Returns
    /// when there is nothing half-made any more.
    pub(super) async fn abandon(&self, id: &str) {
        let making = match lock(&self.slots).get(id) {
            Some(Slot::Making(abandon)) => Some(abandon.clone()),
            _ => None,
        };
        match making {
            Some(making) => making.ask().await,
            None if self.ahead.discard(id).await => {
                // Else the server would wait for its Create.
                self.seen_to(id);
                self.ask_shutdown_when_empty();
            }
            None => {}
        }
    }

    pub(super) async fn create(
        &self,
        request: &api::CreateTaskRequest,
    ) -> Result<u32, ServiceError> {
        self.refuse_leaving()?;
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
        self.seen_to(id);
        let early = self.ahead.take(id).await;
        let made = self.maker.create(request, early, &abandoned).await;
        let result = match made {
            Ok(container) => {
                let pid = container.pid();
                if self.is_found(&container.group) {
                    newcomers::unmark(&self.order().dir);
                }
                lock(&self.slots).insert(id.clone(), Slot::Made(container.clone()));
                // It may have gone meanwhile.
                self.has_lost(&container.group);
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

    /// Whether containerd would clean up after the containers of a pod if this server died: after
    /// those of a server of the pod's own only where it finds the pod.
    fn is_found(&self, pod: &str) -> bool {
        self.order().mode == ServerMode::PerNode || self.knows(pod)
    }

    /// Marks the server where a pod has gone and others of it go on, so that the next one cleans up
    /// if this one dies.
    fn has_lost(&self, pod: &str) {
        if !self.is_found(pod) && !self.members(pod).is_empty() {
            let _ = newcomers::mark(&self.order().dir);
        }
    }

    /// What `start` announced is there, or will not come.
    fn seen_to(&self, id: &str) {
        self.changed.notify_one();
        let _ = std::fs::remove_file(self.order().dir.join(STARTING).join(id));
    }

    pub(super) async fn create_sandbox(
        &self,
        request: sandbox::Request,
    ) -> Result<(), ServiceError> {
        self.refuse_leaving()?;
        let id = request.id.clone();
        // A pod may have a specification, as if it were a container.
        self.ahead.discard(&id).await;
        self.maker.sandboxes.add(self.order(), request)?;
        newcomers::unmark(&self.order().dir);
        self.seen_to(&id);
        Ok(())
    }

    /// Removes a pod with all that is in it; one that is not there is removed
    /// already.
    pub(super) async fn remove_sandbox(&self, id: &str) -> Result<(), ServiceError> {
        if let Some(sandbox) = self.maker.sandboxes.find(id) {
            for member in self.members(id) {
                let _ = self.delete_now(&member).await;
            }
            sandbox.stop().await;
            sandbox.remove()?;
            self.maker.sandboxes.take(id);
            self.has_lost(id);
            self.changed.notify_one();
        }
        self.ask_shutdown_when_empty();
        Ok(())
    }

    /// The containers of a pod.
    fn members(&self, id: &str) -> Vec<Arc<Container>> {
        lock(&self.slots)
            .values()
            .filter_map(|slot| match slot {
                Slot::Made(container) if container.group == id => Some(container.clone()),
                _ => None,
            })
            .collect()
    }

    async fn delete_now(&self, container: &Container) -> Result<(), ServiceError> {
        container.kill_now();
        container.init.wait().await;
        self.delete(container).await.map(drop)
    }

    /// A server of the node outlives what it serves; one of a pod ends with
    /// the last container.
    pub(super) fn ask_shutdown_when_empty(&self) {
        if self.order().mode == ServerMode::PerPod && self.is_empty() {
            self.shutdown.notify_one();
        }
    }

    pub(super) async fn delete(
        &self,
        container: &Container,
    ) -> Result<api::DeleteResponse, ServiceError> {
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
        self.has_lost(&container.id);
        let (id, pid) = (container.id.clone(), container.pid());
        self.events.send(&Event::Delete { id, pid, exit });
        Ok(deleted(pid, exit))
    }
}

/// A path that leads to this very file for as long as the server lives, whatever
/// an upgrade puts in its place: code is filed under the build that made it.
fn pinned(program: impl AsFd) -> io::Result<PathBuf> {
    // Above the numbers that spawned processes find their own descriptors at.
    const FLOOR: i32 = 10;
    let pinned = rustix::io::fcntl_dupfd_cloexec(program, FLOOR)?;
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
