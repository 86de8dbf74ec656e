//! Making a container: everything between a Create request and its answer.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::io::unix::AsyncFd;
use trireme_container::cgroup::{Cgroup, Layout};
use trireme_container::crash;
use trireme_container::link::{Link, ToInit};
use trireme_container::process::{Child, ProcessId, new_namespaces};
use trireme_container::state::{self, Record, StateDir};
use trireme_container::zygote::Role;
use trireme_core::config::{Network, ServerMode};
use trireme_core::plan::{Input, Mount, NamespaceKind, Plan, PlanError, Planned};
use trireme_core::spec::{self, oci};

use super::abandon::Abandoned;
use super::code::CodeStore;
use super::container::{Container, Launcher, remove_cgroup};
use super::error::ServiceError;
use super::hooks::Hooks;
use super::log::TaskLog;
use super::logger::{Logger, Whose};
use super::mounts::Mounts;
use super::native::{Launch, Launched};
use super::networks::Networks;
use super::oom::Oom;
use super::process::{Process, reap};
use super::sandbox::Sandboxes;
use super::scope::Holder;
use super::spawn::{Birth, Born, Newborn, say};
use super::streams::{GuestStreams, StreamNames};
use super::tree::Tree;
use super::zygote::Zygote;
use crate::order::Order;
use crate::wire::api;

/// What a server makes containers with.
pub struct Maker {
    /// Its order.
    pub order: Order,
    /// The executor's program.
    pub executor: PathBuf,
    /// What waits to become guests.
    pub(super) zygote: Zygote,
    /// The network namespace of the next one.
    pub(super) networks: Networks,
    /// The program that this server runs.
    pub shim: PathBuf,
    /// The host's cgroup hierarchies.
    pub layout: Layout,
    /// Precompiled code.
    pub code: CodeStore,
    /// The pods that this server makes itself.
    pub sandboxes: Sandboxes,
}

/// What exists of a container while it is made.
struct Site {
    state_dir: StateDir,
    record: Record,
    cgroup_path: String,
    log: TaskLog,
}

/// What is known of a container before there is any of it.
struct Sketch {
    plan: Plan,
    /// Why no guest can be given what the specification asks.
    refusal: Option<PlanError>,
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
        let spec = self.specification(bundle, &request.id)?;
        let (sketch, notices) = self.sketch(&spec, request, bundle)?;
        let site = self.site(&spec, request, bundle, log)?;
        let made = self.build(&spec, sketch, request, &site, abandoned).await;
        match made {
            Ok(made) => {
                if made.launched.launcher == Launcher::Wasm {
                    notices.log(&site.log);
                }
                if let Some(logger) = &made.launched.streams.logger {
                    site.remember(logger);
                }
                Ok(Arc::new(made.container(request, site)))
            }
            Err(error) => {
                site.clear().await;
                Err(error)
            }
        }
    }

    /// The specification of a container, with what its pod adds to it.
    pub(super) fn specification(&self, bundle: &Path, id: &str) -> Result<oci::Spec, ServiceError> {
        let mut spec = spec::read(bundle)?;
        let annotations = spec.annotations().clone().unwrap_or_default();
        if let Some(sandbox) = self.sandboxes.find(spec::group(&annotations, id)) {
            sandbox.furnish(&mut spec);
        }
        Ok(spec)
    }

    /// The plan of a guest; or, where none can be given what is asked, one by
    /// which a Linux program is told from a guest.
    fn sketch(
        &self,
        spec: &oci::Spec,
        request: &api::CreateTaskRequest,
        bundle: &Path,
    ) -> Result<(Sketch, Notices), ServiceError> {
        let rootfs = request
            .rootfs
            .iter()
            .map(|mount| {
                let destination = bundle.join("rootfs");
                let source = PathBuf::from(&mount.source);
                Mount::new(destination, mount.type_.clone(), source, &mount.options)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let input = || Input {
            id: &request.id,
            bundle,
            rootfs: rootfs.clone(),
            engine: self.order.engine.clone(),
            network: self.has_network(),
        };
        match Plan::from_spec(spec, input()) {
            Ok(Planned {
                plan,
                ignored,
                left_out,
            }) => {
                let refusal = None;
                Ok((Sketch { plan, refusal }, Notices { ignored, left_out }))
            }
            Err(error) => match Plan::to_look(spec, input()) {
                Ok(plan) => {
                    let refusal = Some(error);
                    Ok((Sketch { plan, refusal }, Notices::default()))
                }
                Err(_) => Err(error.into()),
            },
        }
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
        let cgroup_path = cgroup.path().display().to_string();
        let annotations = spec.annotations().clone().unwrap_or_default();
        let record = Record {
            id: request.id.clone(),
            namespace: namespace.clone(),
            group: spec::group(&annotations, &request.id).to_owned(),
            bundle: bundle.to_owned(),
            cgroups: vec![cgroup.clone(), cgroup.sibling("-compile")],
            processes: Vec::new(),
            loggers: Vec::new(),
            hooks: state::Hooks::of(spec),
        };
        let state_dir = StateDir::new(&self.order.dir, namespace, &request.id)?;
        state_dir.write(&record)?;
        crash::step("after_state");
        Ok(Site {
            state_dir,
            record,
            cgroup_path,
            log,
        })
    }

    async fn build(
        &self,
        spec: &oci::Spec,
        sketch: Sketch,
        request: &api::CreateTaskRequest,
        site: &Site,
        abandoned: &Abandoned,
    ) -> Result<Made, ServiceError> {
        if site.cgroup().may_follow() {
            return self.build_in(spec, sketch, request, site, abandoned).await;
        }
        let holder = self.limit(spec, site).await?;
        let made = self.build_in(spec, sketch, request, site, abandoned).await;
        if let Some(holder) = holder {
            holder.leave().await;
        }
        made
    }

    /// Makes the container in its cgroup, and that where it may follow.
    async fn build_in(
        &self,
        spec: &oci::Spec,
        sketch: Sketch,
        request: &api::CreateTaskRequest,
        site: &Site,
        abandoned: &Abandoned,
    ) -> Result<Made, ServiceError> {
        let plan = &sketch.plan;
        let whose = Whose {
            id: &request.id,
            namespace: &self.order.namespace,
            abandoned,
        };
        let streams = GuestStreams::open(&names(request), plan.terminal, &whose).await?;
        let hooks = Hooks::of(&site.record);
        let pid_namespace = pid_namespace(plan)?;
        let mut new_namespaces = new_namespaces(&plan.namespaces);
        let network = self.network(plan);
        if network.is_some() {
            new_namespaces &= !NamespaceKind::Network.flag();
        }
        let waits = hooks.before_start() && sketch.refusal.is_none();
        let birth = Birth {
            role: Role::Init,
            cgroup: site.cgroup(),
            cgroup_later: site.cgroup().may_follow(),
            new_namespaces,
            pid_namespace: pid_namespace.as_ref().map(AsFd::as_fd),
            init: None,
            network: network.as_ref().map(AsFd::as_fd),
            hooks: waits,
            look: sketch.refusal.is_some(),
        };
        let (child, link) = self.bear(spec, plan, &streams, &birth, site).await?;
        crash::step("after_clone");
        let mut record = site.record.clone();
        record.processes.extend(ProcessId::of(child.pid).ok());
        let result = match site.state_dir.write(&record) {
            Ok(()) => {
                let newborn = Newborn {
                    child: &child,
                    link: &link,
                    hooks: waits.then_some(&hooks),
                    cgroup: site.cgroup(),
                    compiler: &site.record.cgroups[1],
                    log: &site.log,
                    abandoned,
                };
                self.converse(plan, &newborn).await
            }
            Err(error) => Err(error.into()),
        };
        let made = match (result, sketch.refusal) {
            (Ok(Born::Guest), _) => match streams.handed_over() {
                Ok(streams) => Ok(Launched {
                    launcher: Launcher::Wasm,
                    child,
                    link: link.into_inner(),
                    streams,
                }),
                Err(error) => {
                    let _ = reap(&child).await;
                    Err(error)
                }
            },
            (Ok(Born::Native), _) => {
                let _ = reap(&child).await;
                let launch = self.linux(spec, plan, site, abandoned);
                self.launch(&launch, streams).await
            }
            // A guest, or nothing that could be run at all; no hook has run.
            (Err(_), Some(refusal)) => {
                let _ = reap(&child).await;
                return Err(refusal.into());
            }
            (Err(error), None) => {
                // Whatever it says, nobody will read it any more.
                let _ = reap(&child).await;
                Err(error)
            }
        };
        match made {
            Ok(launched) => Ok(Made {
                launched,
                hooks,
                rootfs: sketch.plan.root.mounts,
            }),
            Err(error) => {
                if hooks.before_start() {
                    hooks.poststop(&site.log).await;
                }
                Err(error)
            }
        }
    }

    /// A network namespace that was made ahead, if the plan asks for a new one. Another is
    /// made for the next.
    fn network(&self, plan: &Plan) -> Option<OwnedFd> {
        if self.order.mode != ServerMode::PerNode || !plan.namespaces.is_new(NamespaceKind::Network)
        {
            return None;
        }
        self.networks.restock();
        self.networks.take()
    }

    /// Spawns the container's process, and makes its cgroup at the same time where that may
    /// follow.
    async fn bear(
        &self,
        spec: &oci::Spec,
        plan: &Plan,
        streams: &GuestStreams,
        birth: &Birth<'_>,
        site: &Site,
    ) -> Result<(Child, AsyncFd<Link>), ServiceError> {
        let spawned = self.spawn(plan, streams, birth, &site.log);
        if !birth.cgroup_later {
            return spawned.await;
        }
        // In this order: a zygote is asked before this thread makes the cgroup.
        let (spawned, limited) = tokio::join!(biased; spawned, async {
            Self::set_limits(site, resources(spec), None)
        });
        let (child, link) = spawned?;
        match limited.and_then(|()| say(&link, &ToInit::Cgroup, None)) {
            Ok(()) => Ok((child, link)),
            Err(error) => {
                let _ = reap(&child).await;
                Err(error)
            }
        }
    }

    fn linux<'a>(
        &self,
        spec: &'a oci::Spec,
        plan: &'a Plan,
        site: &'a Site,
        abandoned: &'a Abandoned,
    ) -> Launch<'a> {
        Launch {
            id: &site.record.id,
            spec,
            root: &plan.root,
            state: &site.state_dir,
            cgroup: site.cgroup(),
            cgroup_path: &site.cgroup_path,
            abandoned,
        }
    }

    /// Makes the container's cgroup.
    async fn limit(&self, spec: &oci::Spec, site: &Site) -> Result<Option<Holder>, ServiceError> {
        let resources = resources(spec);
        let holder = Holder::enter(self, site.cgroup(), resources).await?;
        let limited = Self::set_limits(site, resources, holder.as_ref().map(Holder::pid));
        match (limited, holder) {
            (Err(error), Some(holder)) => {
                holder.leave().await;
                Err(error)
            }
            (Err(error), None) => Err(error),
            (Ok(()), holder) => Ok(holder),
        }
    }

    fn set_limits(
        site: &Site,
        resources: Option<&oci::LinuxResources>,
        holder: Option<i32>,
    ) -> Result<(), ServiceError> {
        site.cgroup().create(resources)?;
        if site
            .cgroup()
            .pids()?
            .into_iter()
            .any(|pid| Some(pid) != holder)
        {
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
        Ok(())
    }

    /// Whether the handler lets guests use the container's network.
    pub(super) fn has_network(&self) -> bool {
        self.order.network == Network::Container
    }
}

impl Site {
    fn cgroup(&self) -> &Cgroup {
        &self.record.cgroups[0]
    }

    /// Adds a logging binary to the record on disk.
    fn remember(&self, logger: &Logger) {
        let process = ProcessId::of(logger.pid()).ok();
        let changed = self
            .state_dir
            .change(|record| record.loggers.extend(process));
        if let Err(error) = changed {
            self.log.warn(&error.to_string());
        }
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

fn resources(spec: &oci::Spec) -> Option<&oci::LinuxResources> {
    spec.linux().as_ref()?.resources().as_ref()
}

/// What of the specification a guest is not given.
#[derive(Default)]
struct Notices {
    ignored: Vec<String>,
    left_out: Vec<String>,
}

impl Notices {
    fn log(&self, log: &TaskLog) {
        self.ignored.iter().for_each(|notice| log.warn(notice));
        self.left_out.iter().for_each(|notice| log.debug(notice));
    }
}

/// A container that is ready.
struct Made {
    launched: Launched,
    hooks: Hooks,
    rootfs: Vec<Mount>,
}

impl Made {
    fn container(self, request: &api::CreateTaskRequest, site: Site) -> Container {
        let Site {
            state_dir,
            record,
            log,
            ..
        } = site;
        let [cgroup, compiler]: [Cgroup; 2] = record
            .cgroups
            .try_into()
            .unwrap_or_else(|_| unreachable!("two were put there"));
        let init = Process::new(names(request));
        let Launched {
            launcher,
            child,
            link,
            streams,
        } = self.launched;
        let mounts = Mounts::of(child.pid, &log);
        init.spawned(child, link, streams);
        Container {
            id: request.id.clone(),
            group: record.group,
            bundle: record.bundle,
            cgroup,
            compiler: tokio::sync::Mutex::new(compiler),
            mounts,
            rootfs: self.rootfs,
            init: Arc::new(init),
            launcher,
            execs: Mutex::default(),
            ending: AtomicBool::new(false),
            tree: Tree::default(),
            oom: Oom::default(),
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

/// The pid namespace to join.
fn pid_namespace(plan: &Plan) -> Result<Option<File>, ServiceError> {
    plan.namespaces
        .joined()
        .find(|(kind, _)| *kind == NamespaceKind::Pid)
        .map(|(_, path)| File::open(path))
        .transpose()
        .map_err(|error| ServiceError::Setup(format!("the pid namespace to join: {error}")))
}

/// What a Create answers that nobody waits for any more.
pub(super) fn given_up() -> ServiceError {
    ServiceError::Setup("the container was deleted while it was made".into())
}
