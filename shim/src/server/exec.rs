//! What is executed beside a container's init: another guest by the same
//! engine, in init's namespaces, tree and cgroup; or a Linux program, which beside
//! a guest has a tree of its own.
//!
//! Exec makes the promise of one, Start the process itself, as in containerd's
//! runc shim (`cmd/containerd-shim-runc-v2/process/exec.go`).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use trireme_container::filter::Filter;
use trireme_container::link::{Link, ToInit};
use trireme_container::native::{ExecOrder, FromHelper};
use trireme_container::zygote::Role;
use trireme_core::lifecycle::{Exit, Request, State};
use trireme_core::plan::{Input, Plan, Planned, terminal_size};
use trireme_core::spec::{self, oci};

use super::abandon::{self, Abandon, Abandoned};
use super::birth::Beginner;
use super::container::{Container, Launcher};
use super::create::{Maker, given_up};
use super::error::ServiceError;
use super::events::Events;
use super::logger::Whose;
use super::process::{Process, lock, receive};
use super::ready;
use super::spawn::{Birth, Born, Errand, Newborn, Who, say};
use super::streams::{GuestStreams, ServerStreams, StreamNames};
use crate::wire::api;
use crate::wire::events::Event;

/// The status of a process that could not be started, containerd's own for
/// what nobody knows (`client.UnknownExitStatus`).
const NEVER_RAN: u32 = 255;

/// A process that is executed in a container, or the promise of one.
pub struct Exec {
    /// The id that the client gave it.
    pub id: String,
    /// The process.
    pub process: Arc<Process>,
    spec: oci::Process,
    /// Held by a call that changes the state; whether it is deleted.
    change: tokio::sync::Mutex<bool>,
    starting: Mutex<Option<Arc<Abandon>>>,
}

impl Exec {
    /// The promise that a request asks for.
    ///
    /// # Errors
    ///
    /// When the process's specification cannot be read.
    pub fn new(request: &api::ExecProcessRequest) -> Result<Self, ServiceError> {
        let mut spec: oci::Process = serde_json::from_slice(&request.spec.value)
            .map_err(|error| ServiceError::InvalidArgument(format!("process: {error}")))?;
        spec.set_terminal(Some(request.terminal));
        let streams = StreamNames {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        Ok(Exec {
            id: request.exec_id.clone(),
            process: Arc::new(Process::new(streams)),
            spec,
            change: tokio::sync::Mutex::new(false),
            starting: Mutex::default(),
        })
    }

    /// Makes the process and lets it run.
    pub async fn start(
        self: &Arc<Self>,
        container: &Arc<Container>,
        maker: &Maker,
        events: &Events,
    ) -> Result<u32, ServiceError> {
        let is_deleted = self.change.lock().await;
        if *is_deleted {
            return Err(not_there(&self.id));
        }
        self.process.state().allows(Request::Start)?;
        let (abandon, abandoned) = abandon::pair();
        *lock(&self.starting) = Some(Arc::new(abandon));
        let made = self.make(container, maker, &abandoned).await;
        lock(&self.starting).take();
        if let Err(error) = made {
            // Until it is reaped, no first process of its pid namespace can end.
            if let Some(pid) = self.process.reap(&container.log).await {
                container.forget(pid);
            }
            self.never_ran();
            return Err(error);
        }
        container.watch_memory(events);
        let pid = self.process.pid();
        let (id, exec_id) = (container.id.clone(), self.id.clone());
        events.send(&Event::ExecStarted { id, exec_id, pid });
        tokio::spawn(self.clone().watch(container.clone(), events.clone()));
        Ok(pid)
    }

    async fn make(
        &self,
        container: &Container,
        maker: &Maker,
        abandoned: &Abandoned,
    ) -> Result<(), ServiceError> {
        match container.init.state() {
            State::Paused => {
                return Err(ServiceError::Setup(
                    "cannot exec in a paused container".into(),
                ));
            }
            state if state.exit().is_some() || container.is_ending() => {
                return Err(ServiceError::Precondition(format!(
                    "container {} init process is not running",
                    container.id
                )));
            }
            _ => {}
        }
        let born = match container.launcher {
            Launcher::Wasm => maker.execute(container, self, abandoned).await?,
            Launcher::Native => {
                let spec = spec_of(container, self)?;
                let filter = maker.filters.of(&spec).await?;
                let streams = self.streams(&spec, maker, abandoned).await?;
                let beside = Beside {
                    spec,
                    filter,
                    tree: None,
                };
                maker
                    .execute_linux(container, self, streams, beside, abandoned)
                    .await?
            }
        };
        let link = self.process.start()?;
        match born {
            Born::Guest => Ok(()),
            Born::Native => is_executed(link, abandoned).await,
        }
    }

    async fn streams(
        &self,
        spec: &oci::Spec,
        maker: &Maker,
        abandoned: &Abandoned,
    ) -> Result<GuestStreams, ServiceError> {
        let size = spec.process().as_ref().and_then(terminal_size);
        let whose = Whose {
            id: &self.id,
            namespace: &maker.order.namespace,
            abandoned,
        };
        GuestStreams::open(&self.process.streams, size, &whose).await
    }

    /// Takes over a child that is ready, or ends one that cannot be.
    async fn take(
        &self,
        container: &Container,
        beginner: Beginner<'_>,
        link: AsyncFd<Link>,
        made: Result<ServerStreams, ServiceError>,
    ) -> Result<(), ServiceError> {
        let remembered = made.and_then(|streams| {
            if let Some(logger) = &streams.logger {
                container.remember_logger(logger.pid())?;
            }
            Ok(streams)
        });
        match remembered {
            Ok(streams) => {
                let child = beginner.settle();
                self.process.spawned(child, link.into_inner(), streams);
                Ok(())
            }
            Err(error) => {
                // Whatever it says, nobody will read it any more.
                let _ = beginner.end().await;
                Err(error)
            }
        }
    }

    /// Ends it, whether it runs or is only on its way. Returns when it is
    /// certain to end.
    pub async fn end(&self) {
        self.give_up().await;
        self.process.kill_now();
    }

    /// Ends the making of a process that is on its way.
    async fn give_up(&self) {
        let starting = lock(&self.starting).clone();
        if let Some(starting) = starting {
            starting.ask().await;
        }
    }

    /// Removes what is left of it.
    pub async fn delete(&self) -> Result<Exit, ServiceError> {
        self.give_up().await;
        let mut is_deleted = self.change.lock().await;
        if *is_deleted {
            return Err(not_there(&self.id));
        }
        let exit = match self.process.state_now() {
            State::Created => Exit {
                status: 0,
                at: SystemTime::UNIX_EPOCH,
            },
            state => {
                state.allows(Request::Delete)?;
                self.process.wait().await
            }
        };
        self.process.output_moved().await;
        *is_deleted = true;
        Ok(exit)
    }

    /// Tells whoever waits for a process that will never be.
    pub fn never_ran(&self) {
        self.process.has_ended(Exit {
            status: NEVER_RAN,
            at: SystemTime::now(),
        });
    }

    /// Sees the process to its end and tells the world.
    async fn watch(self: Arc<Self>, container: Arc<Container>, events: Events) {
        let pid = self.process.pid();
        let (exit, streams) = self.process.end(&container.log).await;
        container.forget(pid);
        events.send(&Event::Exit {
            id: container.id.clone(),
            process: self.id.clone(),
            pid,
            exit,
        });
        self.process.has_ended(exit);
        tokio::task::yield_now().await;
        drop(streams);
    }
}

/// Waits until a helper has become its program, by which its end of the link is closed.
async fn is_executed(link: Link, abandoned: &Abandoned) -> Result<(), ServiceError> {
    let link = ready::to(link, Interest::READABLE)
        .map_err(|error| ServiceError::Setup(format!("cannot hear of a program: {error}")))?;
    let said = abandoned.or(receive::<FromHelper>(&link)).await;
    match said.ok_or_else(given_up)? {
        Ok(Some((FromHelper::Failed { message }, _))) => Err(ServiceError::Setup(message)),
        // Where it has died before, that is its end, and told as such.
        _ => Ok(()),
    }
}

/// The answer to a call for a process that is not there.
pub(super) fn not_there(id: &str) -> ServiceError {
    ServiceError::NotFound(format!("process does not exist {id}"))
}

impl Maker {
    /// Makes a process that waits to be let run, in a guest's container; returns what it is.
    async fn execute(
        &self,
        container: &Container,
        exec: &Exec,
        abandoned: &Abandoned,
    ) -> Result<Born, ServiceError> {
        let spec = spec_of(container, exec)?;
        let plan = self.plan_of(&spec, container)?;
        let filter = self.filters.of(&spec).await?;
        let streams = exec.streams(&spec, self, abandoned).await?;
        let init = container.init.open()?;
        let birth = Birth {
            role: Role::Exec,
            cgroup: &container.cgroup,
            cgroup_later: false,
            network: None,
            engine: None,
            new_namespaces: 0,
            pid_namespace: None,
            init: Some(init.as_fd()),
        };
        let errand = Errand {
            plan: &plan,
            filter: filter.as_ref(),
            streams: &streams,
            hooks: false,
            look: false,
        };
        let (child, link) = self.spawn(Some(&errand), &birth, &container.log).await?;
        drop(init);
        let beginner = Beginner::new(container, child);
        let ready = async {
            container.remember(beginner.process().pid)?;
            self.converse_with(container, &plan, &beginner, &link, abandoned)
                .await
        };
        let made = match ready.await {
            Ok(Born::Guest) => streams.handed_over(),
            Ok(Born::Native) => {
                let ended = beginner.end().await;
                ended.map_err(|error| ServiceError::Setup(error.to_string()))?;
                let tree = Some(self.tree(container, abandoned).await?);
                let beside = Beside { spec, filter, tree };
                return self
                    .execute_linux(container, exec, streams, beside, abandoned)
                    .await;
            }
            Err(error) => Err(error),
        };
        exec.take(container, beginner, link, made).await?;
        Ok(Born::Guest)
    }

    async fn converse_with(
        &self,
        container: &Container,
        plan: &Plan,
        beginner: &Beginner<'_>,
        link: &AsyncFd<Link>,
        abandoned: &Abandoned,
    ) -> Result<Born, ServiceError> {
        // The container has one cgroup for compilers, and each removes it.
        let compiler = abandoned.or(container.compiler.lock()).await;
        let compiler = compiler.ok_or_else(given_up)?;
        let newborn = Newborn {
            who: Who::Beside(beginner),
            link,
            hooks: None,
            cgroup: &container.cgroup,
            compiler: &compiler,
            log: &container.log,
            abandoned,
        };
        self.converse(plan, &newborn).await
    }

    /// The plan of a guest.
    fn plan_of(&self, spec: &oci::Spec, container: &Container) -> Result<Plan, ServiceError> {
        let input = Input {
            id: &container.id,
            bundle: &container.bundle,
            rootfs: container.rootfs.clone(),
            engine: self.order.engine.clone(),
            network: self.has_network(),
        };
        let Planned { plan, .. } = Plan::from_spec(spec, input)?;
        Ok(plan)
    }

    /// Makes a Linux program that waits to be let run.
    async fn execute_linux(
        &self,
        container: &Container,
        exec: &Exec,
        streams: GuestStreams,
        beside: Beside,
        abandoned: &Abandoned,
    ) -> Result<Born, ServiceError> {
        let Beside { spec, filter, tree } = beside;
        let order = ExecOrder {
            process: spec.process().clone().unwrap_or_default(),
            filter,
            cgroup: container.cgroup.join_files(),
            tree: tree.is_some(),
        };
        let failed = |why: &str| {
            let args = order.process.args().as_deref().unwrap_or_default();
            let program = args.first().map_or("", String::as_str);
            ServiceError::Setup(format!("exec {} ({program}): {why}", exec.id))
        };
        let (child, link) = self.beside(container, &order, &streams)?;
        let beginner = Beginner::new(container, child);
        let ready = async {
            container.remember(beginner.process().pid)?;
            if let Some(tree) = tree {
                say(&link, &ToInit::Tree, Some(tree.as_fd()))?;
            }
            let answer = abandoned.or(beginner.hear::<FromHelper>(&link)).await;
            match answer.ok_or_else(given_up)? {
                Ok(Some((FromHelper::Ready { .. }, terminal))) => streams.handed_over_to(terminal),
                Ok(Some((FromHelper::Failed { message }, _))) => Err(ServiceError::Setup(message)),
                Ok(_) => Err(failed("its process ended without a word")),
                Err(error) => Err(failed(&error.to_string())),
            }
        };
        let made = ready.await;
        exec.take(container, beginner, link, made).await?;
        Ok(Born::Native)
    }
}

/// What a Linux program is made of.
struct Beside {
    /// The container's specification, with its process.
    spec: oci::Spec,
    /// Its system call filter.
    filter: Option<Filter>,
    /// Its mount namespace, where that is not the first process's.
    tree: Option<OwnedFd>,
}

/// The container's specification with another process. What the process leaves
/// open is as for init, as runc has it.
fn spec_of(container: &Container, exec: &Exec) -> Result<oci::Spec, ServiceError> {
    let mut spec = spec::read(&container.bundle)?;
    let mut process = exec.spec.clone();
    if let Some(init) = spec.process() {
        if process.oom_score_adj().is_none() {
            process.set_oom_score_adj(init.oom_score_adj());
        }
        if process.rlimits().is_none() {
            process.set_rlimits(init.rlimits().clone());
        }
        if process.capabilities().is_none() {
            process.set_capabilities(init.capabilities().clone());
        }
        let profile = process.apparmor_profile().as_deref();
        if profile.is_none_or(str::is_empty) {
            process.set_apparmor_profile(init.apparmor_profile().clone());
        }
    }
    spec.set_process(Some(process));
    Ok(spec)
}
