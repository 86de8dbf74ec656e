//! Making a container: everything between a Create request and its answer.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::unix::AsyncFd;
use trireme_container::cgroup::{Cgroup, Layout};
use trireme_container::crash;
use trireme_container::link::{FromInit, InitOrder, Link, ToInit};
use trireme_container::process::{Child, ProcessId, Spawn, new_namespaces};
use trireme_container::state::{self, Record, StateDir};
use trireme_core::config::Network;
use trireme_core::memory_file;
use trireme_core::plan::{Input, Mount, NamespaceKind, Plan, Planned};
use trireme_core::spec::{self, oci};

use super::abandon::Abandoned;
use super::code::{CodeStore, Program};
use super::container::{Container, remove_cgroup};
use super::elsewhere::{self, Found};
use super::error::ServiceError;
use super::hooks::Hooks;
use super::log::TaskLog;
use super::process::{Process, reap, receive};
use super::ready;
use super::streams::{GuestStreams, ServerStreams, StreamNames};
use crate::order::Order;
use crate::wire::api;

/// What a server makes containers with.
pub struct Maker {
    /// Its order.
    pub order: Order,
    /// The executor's program.
    pub executor: PathBuf,
    /// The host's cgroup hierarchies.
    pub layout: Layout,
    /// Precompiled code.
    pub code: CodeStore,
}

/// An init on its way to be ready.
struct Init<'a> {
    child: &'a Child,
    link: &'a AsyncFd<Link>,
    hooks: &'a Hooks,
    abandoned: &'a Abandoned,
}

/// What exists of a container while it is made.
struct Site {
    state_dir: StateDir,
    record: Record,
    log: TaskLog,
}

impl Maker {
    /// Makes a container whose guest waits to be started.
    ///
    /// # Errors
    ///
    /// When it cannot be made; nothing of it is left then.
    pub async fn create(
        &self,
        request: &api::CreateTaskRequest,
        abandoned: &Abandoned,
    ) -> Result<Arc<Container>, ServiceError> {
        if !request.checkpoint.is_empty() {
            return Err(ServiceError::Unimplemented(
                "restoring a checkpoint is not supported".into(),
            ));
        }
        let bundle = Path::new(&request.bundle);
        let log = TaskLog::open(bundle, &request.id, self.order.debug);
        let spec = spec::read(bundle)?;
        let Planned {
            plan,
            ignored,
            left_out,
        } = self.plan(&spec, request, bundle)?;
        ignored.iter().for_each(|notice| log.warn(notice));
        left_out.iter().for_each(|notice| log.debug(notice));
        let site = self.site(&spec, request, bundle, log)?;
        match self.build(&spec, &plan, request, &site, abandoned).await {
            Ok(made) => Ok(Arc::new(made.container(request, site))),
            Err(error) => {
                site.clear().await;
                Err(error)
            }
        }
    }

    fn plan(
        &self,
        spec: &oci::Spec,
        request: &api::CreateTaskRequest,
        bundle: &Path,
    ) -> Result<Planned, ServiceError> {
        let rootfs = request
            .rootfs
            .iter()
            .map(|mount| {
                let destination = bundle.join("rootfs");
                let source = PathBuf::from(&mount.source);
                Mount::new(destination, mount.type_.clone(), source, &mount.options)
            })
            .collect::<Result<_, _>>()?;
        let input = Input {
            id: &request.id,
            bundle,
            rootfs,
            engine: self.order.engine.clone(),
            network: self.order.network == Network::Container,
        };
        Ok(Plan::from_spec(spec, input)?)
    }

    /// Writes the state before anything that it names exists, so that nothing
    /// can be left behind without a trace.
    fn site(
        &self,
        spec: &oci::Spec,
        request: &api::CreateTaskRequest,
        bundle: &Path,
        log: TaskLog,
    ) -> Result<Site, ServiceError> {
        let namespace = &self.order.namespace;
        let path = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.cgroups_path().clone());
        let path = match path.as_deref().and_then(Path::to_str) {
            Some(path) if !path.is_empty() => path.to_owned(),
            _ => format!("/{namespace}/{}", request.id),
        };
        let cgroup = Cgroup::at(&self.layout, &path)?;
        let annotations = spec.annotations().clone().unwrap_or_default();
        let record = Record {
            id: request.id.clone(),
            namespace: namespace.clone(),
            group: spec::group(&annotations, &request.id).to_owned(),
            bundle: bundle.to_owned(),
            cgroups: vec![cgroup.clone(), cgroup.sibling("-compile")],
            processes: Vec::new(),
            hooks: state::Hooks::of(spec),
        };
        let state_dir = StateDir::new(&self.order.dir, namespace, &request.id)?;
        state_dir.write(&record)?;
        crash::step("after_state");
        Ok(Site {
            state_dir,
            record,
            log,
        })
    }

    async fn build(
        &self,
        spec: &oci::Spec,
        plan: &Plan,
        request: &api::CreateTaskRequest,
        site: &Site,
        abandoned: &Abandoned,
    ) -> Result<Made, ServiceError> {
        let resources = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.resources().as_ref());
        site.cgroup().create(resources)?;
        if !site.cgroup().pids()?.is_empty() {
            return Err(ServiceError::Setup(
                "linux.cgroupsPath: the cgroup holds processes already; give each container its own".into(),
            ));
        }
        for what in resources
            .iter()
            .flat_map(|resources| site.cgroup().ignored(resources))
        {
            site.log.warn(&format!(
                "linux.resources.{what} ignored: not supported on this host"
            ));
        }
        let streams = GuestStreams::open(&names(request), plan.terminal)?;
        let hooks = Hooks::of(&site.record);
        let (child, link) = self.spawn(plan, site, &streams, &hooks)?;
        let mut record = site.record.clone();
        record.processes.extend(ProcessId::of(child.pid).ok());
        let streams = streams.handed_over();
        let result = match site.state_dir.write(&record) {
            Ok(()) => {
                let init = Init {
                    child: &child,
                    link: &link,
                    hooks: &hooks,
                    abandoned,
                };
                self.converse(plan, site, &init).await
            }
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(()) => Ok(Made {
                child,
                link: link.into_inner(),
                streams,
                hooks,
            }),
            Err(error) => {
                // Whatever it says, nobody will read it any more.
                let _ = reap(&child).await;
                if hooks.before_start() {
                    hooks.poststop(&site.log).await;
                }
                Err(error)
            }
        }
    }

    fn spawn(
        &self,
        plan: &Plan,
        site: &Site,
        streams: &GuestStreams,
        hooks: &Hooks,
    ) -> Result<(Child, AsyncFd<Link>), ServiceError> {
        let failed =
            |error: std::io::Error| ServiceError::Setup(format!("cannot start init: {error}"));
        let order = InitOrder {
            plan: plan.clone(),
            cgroup: site.cgroup().join_files(),
            hooks: hooks.before_start(),
        };
        let order = memory_file::sealed_json("plan", &order).map_err(failed)?;
        let (here, there) = Link::pair().map_err(failed)?;
        here.set_nonblocking().map_err(failed)?;
        let here = ready::of(here).map_err(failed)?;
        let pid_namespace = plan
            .namespaces
            .joined()
            .find(|(kind, _)| *kind == NamespaceKind::Pid)
            .map(|(_, path)| File::open(path))
            .transpose()
            .map_err(|error| ServiceError::Setup(format!("the pid namespace to join: {error}")))?;
        let cgroup = site.cgroup().clone_into()?;
        let child = Spawn {
            executor: &self.executor,
            verb: c"init",
            stdio: streams.borrow(),
            terminal: streams.is_terminal(),
            link: there.as_fd(),
            plan: order.as_fd(),
            program: None,
            new_namespaces: new_namespaces(&plan.namespaces),
            pid_namespace: pid_namespace.as_ref().map(AsFd::as_fd),
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
        }
        .spawn()?;
        crash::step("after_clone");
        Ok((child, here))
    }

    /// Gives init what it asks for until it is ready.
    async fn converse(
        &self,
        plan: &Plan,
        site: &Site,
        init: &Init<'_>,
    ) -> Result<(), ServiceError> {
        let Init {
            child,
            link,
            hooks,
            abandoned,
        } = *init;
        let mut has_code = false;
        loop {
            let message = abandoned
                .or(receive::<FromInit>(link))
                .await
                .ok_or_else(given_up)?
                .map_err(|error| ServiceError::Setup(format!("init: {error}")))?;
            match message {
                Some((FromInit::Built, _)) if hooks.before_start() && !has_code => {
                    let hooks = hooks.create_runtime(child.pid.unsigned_abs());
                    abandoned.or(hooks).await.ok_or_else(given_up)??;
                    say(link, &ToInit::Proceed, None)?;
                }
                // Once: after that init has loaded code, and may be what that made
                // of it.
                Some((FromInit::Program { kind, identity }, Some(file))) if !has_code => {
                    has_code = true;
                    let program = Program {
                        file,
                        kind,
                        identity,
                        sha256: None,
                        cgroup: &site.record.cgroups[1],
                        name: &plan.entry.path,
                        log: &site.log,
                        abandoned,
                    };
                    let code = self.code.code(program).await?;
                    say(link, &ToInit::Code, Some(code.as_fd()))?;
                }
                Some((FromInit::Missing { message }, _)) if !has_code => {
                    has_code = true;
                    self.find_elsewhere(plan, site, init, message).await?;
                }
                Some((FromInit::Ready, _)) => return Ok(()),
                Some((FromInit::Failed { message }, _)) => {
                    return Err(ServiceError::Setup(message));
                }
                Some((other, _)) => {
                    return Err(ServiceError::Setup(format!(
                        "unexpected message of init: {other:?}"
                    )));
                }
                None => return Err(self.lost(site, child).await),
            }
        }
    }

    /// Gives init a program that is not in the container's tree, or fails with
    /// init's message.
    async fn find_elsewhere(
        &self,
        plan: &Plan,
        site: &Site,
        init: &Init<'_>,
        message: String,
    ) -> Result<(), ServiceError> {
        let search = elsewhere::find(&self.order, plan, &site.log);
        let found = init.abandoned.or(search).await.ok_or_else(given_up)??;
        let Found { module, file } = found.ok_or(ServiceError::Setup(message))?;
        let title = module.title;
        let kind = module.kind;
        say(init.link, &ToInit::Elsewhere { kind, title }, None)?;
        let program = Program {
            file,
            kind,
            identity: None,
            sha256: module.sha256.as_deref(),
            cgroup: &site.record.cgroups[1],
            name: &module.origin,
            log: &site.log,
            abandoned: init.abandoned,
        };
        let code = self.code.code(program).await?;
        say(init.link, &ToInit::Code, Some(code.as_fd()))
    }

    /// Why init ended without a word.
    async fn lost(&self, site: &Site, child: &Child) -> ServiceError {
        let oom = site.cgroup().oom_kills() > 0;
        let engine = &self.order.engine;
        let status = reap(child)
            .await
            .map_or_else(|error| error.to_string(), |s| s.to_string());
        let why = if oom {
            "its memory limit is too low for the engine and the program".to_owned()
        } else {
            format!("init ended with status {status} before it was ready")
        };
        ServiceError::Setup(format!(
            "handler \"{}\", engine {}: {}: {why}",
            engine.handler, engine.engine, site.record.id
        ))
    }
}

impl Site {
    fn cgroup(&self) -> &Cgroup {
        &self.record.cgroups[0]
    }

    /// Removes everything that the record names.
    async fn clear(self) {
        for cgroup in &self.record.cgroups {
            remove_cgroup(cgroup, &self.log).await;
        }
        if let Err(error) = self.state_dir.remove() {
            self.log.warn(&error.to_string());
        }
    }
}

/// A container that is ready.
struct Made {
    child: Child,
    link: Link,
    streams: ServerStreams,
    hooks: Hooks,
}

impl Made {
    fn container(self, request: &api::CreateTaskRequest, site: Site) -> Container {
        let Site {
            state_dir,
            record,
            log,
        } = site;
        let [cgroup, _]: [Cgroup; 2] = record
            .cgroups
            .try_into()
            .unwrap_or_else(|_| unreachable!("two were put there"));
        let init = Process::new(names(request));
        init.spawned(self.child, self.link, self.streams);
        Container {
            id: request.id.clone(),
            bundle: record.bundle,
            cgroup,
            init: Arc::new(init),
            state_dir,
            hooks: self.hooks,
            log,
            change: tokio::sync::Mutex::new(false),
        }
    }
}

fn names(request: &api::CreateTaskRequest) -> StreamNames {
    StreamNames {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    }
}

/// What a Create answers that nobody waits for any more.
pub(super) fn given_up() -> ServiceError {
    ServiceError::Setup("the container was deleted while it was made".into())
}

fn say(
    link: &AsyncFd<Link>,
    message: &ToInit,
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), ServiceError> {
    match link.get_ref().send(message, fd) {
        // It is gone; what it had to say about that is still to be read.
        Err(error) if is_gone(&error) => Ok(()),
        other => other.map_err(|error| ServiceError::Setup(format!("init: {error}"))),
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}
