//! Making a container: everything between a Create request and its answer.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::io::unix::AsyncFd;
use trireme_container::cgroup::{Cgroup, Layout};
use trireme_container::filter::Filter;
use trireme_container::link::{Link, ToInit};
use trireme_container::process::Child;
use trireme_core::config::{Network, ServerMode};
use trireme_core::plan::{Mount, NamespaceKind, Namespaces, Plan};
use trireme_core::spec::{self, oci};

use super::abandon::Abandoned;
use super::ahead::{Early, EarlyInit};
use super::code::CodeStore;
use super::container::{Container, Launcher};
use super::error::ServiceError;
use super::filters::Filters;
use super::hooks::Hooks;
use super::log::TaskLog;
use super::logger::Whose;
use super::mounts::Mounts;
use super::native::{Launch, Launched};
use super::networks::Networks;
use super::oom::Oom;
use super::process::{Process, reap};
use super::sandbox::Sandboxes;
use super::scope::Holder;
use super::site::{Site, resources};
use super::sketch::{Notices, Sketch};
use super::spawn::{Birth, Born, Errand, Newborn, Who, say};
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
    /// System call filters.
    pub filters: Filters,
    /// The pods that this server makes itself.
    pub sandboxes: Sandboxes,
}

impl Maker {
    /// Makes a container whose guest waits to be started, from what there is of it already.
    ///
    /// # Errors
    ///
    /// When it cannot be made; nothing of it is left then.
    pub(super) async fn create(
        &self,
        request: &api::CreateTaskRequest,
        early: Option<Early>,
        abandoned: &Abandoned,
    ) -> Result<Arc<Container>, ServiceError> {
        let early = match early {
            Some(mut early) if self.fits(&early, request) => {
                early.site.record.bundle = request.bundle.clone().into();
                Some(early)
            }
            Some(early) => {
                early.discard().await;
                None
            }
            None => None,
        };
        if !request.checkpoint.is_empty() {
            return Err(ServiceError::Unimplemented(
                "restoring a checkpoint is not supported".into(),
            ));
        }
        let bundle = Path::new(&request.bundle);
        let (spec, sketch, begun) = match early {
            Some(early) => (early.spec, early.sketch, Some((early.site, early.init))),
            None => {
                let spec = self.specification(bundle, &request.id)?;
                let filter = self.filters.of(&spec).await;
                let sketch = self.sketch(&spec, filter, &request.id, bundle);
                (spec, sketch, None)
            }
        };
        let sketch = match sketch.and_then(|sketch| sketch.with_root(request)) {
            Ok(sketch) => sketch,
            Err(error) => {
                if let Some((site, init)) = begun {
                    init.end().await;
                    site.clear().await;
                }
                return Err(error);
            }
        };
        let (site, early) = match begun {
            Some((site, init)) => (site, Some(init)),
            None => {
                let log = TaskLog::open(bundle, &request.id, self.order.debug);
                let cgroup = self.cgroup(&spec, &request.id)?;
                (self.site(&spec, &request.id, bundle, cgroup, log)?, None)
            }
        };
        let made = self
            .build(&spec, sketch, request, &site, early, abandoned)
            .await;
        match made {
            Ok(made) => {
                if made.launched.launcher == Launcher::Wasm {
                    made.notices.log(&site.log);
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

    /// Whether a request is for what was made before it came.
    fn fits(&self, early: &Early, request: &api::CreateTaskRequest) -> bool {
        let bundle = Path::new(&request.bundle);
        request.checkpoint.is_empty()
            && !self.is_furnished(&early.spec, &request.id)
            && spec::text(bundle).is_ok_and(|text| early.is_of(bundle, &text))
    }

    async fn build(
        &self,
        spec: &oci::Spec,
        sketch: Sketch,
        request: &api::CreateTaskRequest,
        site: &Site,
        early: Option<EarlyInit>,
        abandoned: &Abandoned,
    ) -> Result<Made, ServiceError> {
        let holder = match early.is_some() || site.cgroup().may_follow() {
            true => None,
            false => self.limit(spec, site).await?,
        };
        let made = self
            .build_in(spec, sketch, request, site, early, abandoned)
            .await;
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
        early: Option<EarlyInit>,
        abandoned: &Abandoned,
    ) -> Result<Made, ServiceError> {
        let plan = &sketch.plan;
        let whose = Whose {
            id: &request.id,
            namespace: &self.order.namespace,
            abandoned,
        };
        let streams = match GuestStreams::open(&names(request), plan.terminal, &whose).await {
            Ok(streams) => streams,
            Err(error) => {
                if let Some(init) = early {
                    init.end().await;
                }
                return Err(error);
            }
        };
        let hooks = Hooks::of(&site.record);
        let waits = hooks.before_start() && sketch.refusal.is_none();
        let errand = Errand {
            plan,
            filter: sketch.filter.as_ref(),
            streams: &streams,
            hooks: waits,
            look: sketch.refusal.is_some(),
        };
        let (child, link, told) = match early {
            Some(init) => {
                let told = site.take_over(init.child.pid);
                let told = told.and_then(|()| errand.send(&init));
                (init.child, init.link, told)
            }
            None => {
                let pid_namespace = pid_namespace(plan)?;
                let network = self.network(&plan.namespaces);
                let birth = Birth {
                    pid_namespace: pid_namespace.as_ref().map(AsFd::as_fd),
                    ..Birth::of_init(site.cgroup(), &plan.namespaces, network.as_ref())
                };
                let (child, link) = self.bear(spec, Some(&errand), &birth, site).await?;
                let told = site.remember_init(child.pid);
                (child, link, told)
            }
        };
        let result = match told {
            Ok(()) => {
                let newborn = Newborn {
                    who: Who::Init(&child),
                    link: &link,
                    hooks: waits.then_some(&hooks),
                    cgroup: site.cgroup(),
                    compiler: &site.record.cgroups[1],
                    log: &site.log,
                    abandoned,
                };
                self.converse(plan, &newborn).await
            }
            Err(error) => Err(error),
        };
        let made = match (result, sketch.refusal) {
            (Ok(Born::Guest), None) => match streams.handed_over() {
                Ok(streams) => Ok(Launched {
                    launcher: Launcher::Wasm,
                    child,
                    link: link.into_inner(),
                    streams,
                    helper: None,
                }),
                Err(error) => {
                    let _ = reap(&child).await;
                    Err(error)
                }
            },
            (Ok(Born::Native), _) => {
                let _ = reap(&child).await;
                let launch = self.linux(spec, plan, sketch.filter.as_ref(), site, abandoned);
                self.launch(&launch, streams).await
            }
            // A guest, or nothing that could be run at all; no hook has run.
            (Ok(Born::Guest) | Err(_), Some(refusal)) => {
                let _ = reap(&child).await;
                return Err(refusal);
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
                notices: sketch.notices,
            }),
            Err(error) => {
                if hooks.before_start() {
                    hooks.poststop(&site.log).await;
                }
                Err(error)
            }
        }
    }

    /// A network namespace that was made ahead, if a new one is asked for. Another is
    /// made for the next.
    pub(super) fn network(&self, namespaces: &Namespaces) -> Option<OwnedFd> {
        if self.order.mode != ServerMode::PerNode || !namespaces.is_new(NamespaceKind::Network) {
            return None;
        }
        self.networks.restock();
        self.networks.take()
    }

    /// Spawns the container's process, and makes its cgroup at the same time where that may
    /// follow.
    pub(super) async fn bear(
        &self,
        spec: &oci::Spec,
        errand: Option<&Errand<'_>>,
        birth: &Birth<'_>,
        site: &Site,
    ) -> Result<(Child, AsyncFd<Link>), ServiceError> {
        let spawned = self.spawn(errand, birth, &site.log);
        if !birth.cgroup_later {
            return spawned.await;
        }
        // In this order: a zygote is asked before this thread makes the cgroup.
        let (spawned, limited) = tokio::join!(biased; spawned, async {
            site.set_limits(resources(spec), None)
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
        filter: Option<&'a Filter>,
        site: &'a Site,
        abandoned: &'a Abandoned,
    ) -> Launch<'a> {
        Launch {
            id: &site.record.id,
            spec,
            filter,
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
        let limited = site.set_limits(resources, holder.as_ref().map(Holder::pid));
        match (limited, holder) {
            (Err(error), Some(holder)) => {
                holder.leave().await;
                Err(error)
            }
            (Err(error), None) => Err(error),
            (Ok(()), holder) => Ok(holder),
        }
    }

    /// Whether the handler lets guests use the container's network.
    pub(super) fn has_network(&self) -> bool {
        self.order.network == Network::Container
    }
}

/// A container that is ready.
struct Made {
    launched: Launched,
    hooks: Hooks,
    rootfs: Vec<Mount>,
    notices: Notices,
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
            helper,
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
            helper: Mutex::new(helper),
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
