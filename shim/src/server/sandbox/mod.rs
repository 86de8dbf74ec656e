//! Pods that the server makes itself, where CRI is told so (`sandboxer =
//! "shim"`): no pause image, and no process unless the containers share a pid
//! namespace.

mod furnish;
mod service;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::{Notify, watch};
use trireme_container::cgroup::{Cgroup, Layout};
use trireme_container::pod::{Files, Pod, Resolver, Wanted};
use trireme_container::process::{ProcessId, kill_now};
use trireme_container::state::{Hooks, Record, StateDir};
use trireme_core::lifecycle::Exit;

use super::aside::aside;
use super::error::ServiceError;
use super::process::{ended, lock};
use crate::order::Order;
use crate::wire::pod::{Dns, PodConfig, Scope};

pub use service::methods;

/// What a pod is made from.
pub struct Request {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// The network namespace that CRI has made for it; none for the node's.
    pub network: Option<PathBuf>,
    /// What Kubernetes says of it.
    pub config: PodConfig,
}

/// A pod from its creation to its removal.
pub struct Sandbox {
    /// Its id.
    pub id: String,
    network: Option<PathBuf>,
    config: PodConfig,
    state_dir: StateDir,
    files: Files,
    stage: Mutex<Stage>,
    stop: Notify,
    /// Told when it could not be started.
    not_started: Notify,
    ended: watch::Sender<Option<Exit>>,
}

/// How far a pod has come.
enum Stage {
    Created,
    Starting,
    Ready { pid: u32, at: SystemTime },
    Ended { pid: u32, at: SystemTime },
}

/// What can be said of a pod at one moment.
pub struct Status {
    /// The id that leads to its namespaces, 0 before there are any.
    pub pid: u32,
    /// Whether containers can be made in it.
    pub is_ready: bool,
    /// When it was started.
    pub started: Option<SystemTime>,
    /// Its end.
    pub exit: Option<Exit>,
}

impl Sandbox {
    fn new(server: &Path, namespace: &str, request: Request) -> Result<Self, ServiceError> {
        let Request {
            id,
            bundle,
            network,
            config,
        } = request;
        if config.user_namespace {
            return Err(ServiceError::Setup(
                "user namespaces are not supported; leave `hostUsers: false` out of the pod".into(),
            ));
        }
        let state_dir = StateDir::new(server, namespace, &id)?;
        state_dir.write(&Record {
            id: id.clone(),
            namespace: namespace.to_owned(),
            group: id.clone(),
            bundle,
            cgroups: Vec::new(),
            processes: Vec::new(),
            loggers: Vec::new(),
            hooks: Hooks::default(),
        })?;
        Ok(Sandbox {
            id,
            files: Files::at(state_dir.path()),
            network,
            config,
            state_dir,
            stage: Mutex::new(Stage::Created),
            stop: Notify::new(),
            not_started: Notify::new(),
            ended: watch::Sender::new(None),
        })
    }

    /// Makes its namespaces and files, and watches over them.
    async fn start(self: &Arc<Self>, shim: PathBuf) -> Result<(u32, SystemTime), ServiceError> {
        {
            let mut stage = lock(&self.stage);
            if !matches!(*stage, Stage::Created) {
                let message = format!("sandbox {} has been started already", self.id);
                return Err(ServiceError::Precondition(message));
            }
            *stage = Stage::Starting;
        }
        let (pod, at) = match self.make(shim).await {
            Ok(pod) => (pod, SystemTime::now()),
            Err(error) => {
                *lock(&self.stage) = Stage::Created;
                self.not_started.notify_waiters();
                return Err(error);
            }
        };
        let pid = pod.pid();
        *lock(&self.stage) = Stage::Ready { pid, at };
        tokio::spawn(self.clone().watch(pod));
        Ok((pid, at))
    }

    async fn make(&self, shim: PathBuf) -> Result<Pod, ServiceError> {
        let config = &self.config;
        let hostname = match config.hostname.as_str() {
            "" => rustix::system::uname().nodename().to_string_lossy().into(),
            name => name.to_owned(),
        };
        let resolver = config
            .dns
            .as_ref()
            .map_or(Resolver::Node, |dns| Resolver::Own(resolv_conf(dns)));
        let wanted = Wanted {
            network: self.network.clone(),
            ipc: config.ipc != Scope::Node,
            hostname: (config.network != Scope::Node).then(|| hostname.clone()),
            sysctls: config.sysctls.clone(),
            pid: (config.pid == Scope::Pod).then_some(shim),
        };
        let (files, shm) = (self.files.clone(), wanted.ipc);
        let pod = aside(move || {
            files.make(&hostname, &resolver, shm)?;
            Pod::hold(wanted).inspect_err(|_| drop(files.unmount()))
        })
        .await?;
        if let Some(first) = pod.first() {
            let process = ProcessId::of(first.pid).ok();
            self.state_dir
                .change(|record| record.processes.extend(process))?;
        }
        Ok(pod)
    }

    /// Ends when the pod is stopped, or its first process has died.
    async fn watch(self: Arc<Self>, pod: Pod) {
        let stopped = self.stop.notified();
        let status = match pod.first() {
            None => {
                stopped.await;
                0
            }
            Some(first) => {
                tokio::select! {
                    () = stopped => {
                        kill_now(first.pidfd.as_fd());
                        let _ = ended(first).await;
                        0
                    }
                    status = ended(first) => status.unwrap_or(crate::delete::LOST),
                }
            }
        };
        let at = SystemTime::now();
        aside(move || pod.release()).await;
        let stage = &mut *lock(&self.stage);
        if let Stage::Ready { pid, at } = *stage {
            *stage = Stage::Ended { pid, at };
        }
        self.ended.send_replace(Some(Exit { status, at }));
    }

    /// Ends it, unless it has; one that was never started has nothing to end.
    pub(super) async fn stop(&self) {
        let not_started = self.not_started.notified();
        if matches!(*lock(&self.stage), Stage::Created) {
            return;
        }
        self.stop.notify_one();
        tokio::select! {
            _ = self.wait() => {}
            () = not_started => {}
        }
    }

    /// Waits for its end.
    async fn wait(&self) -> Exit {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The sender lives as long as the pod.
            _ => std::future::pending().await,
        }
    }

    pub(super) fn status(&self) -> Status {
        let exit = *self.ended.borrow();
        let (pid, is_ready, started) = match *lock(&self.stage) {
            Stage::Created | Stage::Starting => (0, false, None),
            Stage::Ready { pid, at } => (pid, true, Some(at)),
            Stage::Ended { pid, at } => (pid, false, Some(at)),
        };
        Status {
            pid,
            is_ready,
            started,
            exit,
        }
    }

    /// The cgroup that holds those of its containers, if Kubernetes has one.
    fn cgroup(&self, layout: &Layout) -> Result<Option<Cgroup>, ServiceError> {
        let parent = &self.config.cgroup_parent;
        Ok((!parent.is_empty())
            .then(|| Cgroup::at(layout, parent))
            .transpose()?)
    }

    pub(super) fn remove(&self) -> Result<(), ServiceError> {
        self.files.unmount()?;
        self.state_dir.remove()?;
        // Who waits for one that was never started has waited for this.
        let (status, at) = (0, SystemTime::now());
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert(Exit { status, at });
            is_first
        });
        Ok(())
    }
}

/// `resolv.conf`, in the order of CRI's own (containerd
/// `internal/cri/server/podsandbox/sandbox_run_linux.go`, `parseDNSOptions`).
fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    let mut line = |keyword: &str, words: &[String]| {
        if !words.is_empty() {
            text.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    };
    line("search", &dns.searches);
    for server in &dns.servers {
        line("nameserver", std::slice::from_ref(server));
    }
    line("options", &dns.options);
    text
}

/// The pods of a server.
#[derive(Default)]
pub struct Sandboxes(Mutex<HashMap<String, Arc<Sandbox>>>);

impl Sandboxes {
    /// The pod of this id.
    pub fn find(&self, id: &str) -> Option<Arc<Sandbox>> {
        lock(&self.0).get(id).cloned()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    fn get(&self, id: &str) -> Result<Arc<Sandbox>, ServiceError> {
        self.find(id)
            .ok_or_else(|| ServiceError::NotFound(format!("sandbox {id}")))
    }

    pub(super) fn add(&self, order: &Order, request: Request) -> Result<(), ServiceError> {
        let mut sandboxes = lock(&self.0);
        if sandboxes.contains_key(&request.id) {
            let message = format!("sandbox {} exists already", request.id);
            return Err(ServiceError::AlreadyExists(message));
        }
        let sandbox = Sandbox::new(&order.dir, &order.namespace, request)?;
        sandboxes.insert(sandbox.id.clone(), Arc::new(sandbox));
        Ok(())
    }

    pub(super) fn take(&self, id: &str) {
        lock(&self.0).remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_is_told_in_the_order_of_cri() {
        let dns = Dns {
            servers: vec!["10.0.0.1".into(), "10.0.0.2".into()],
            searches: vec!["one.local".into(), "local".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(
            resolv_conf(&dns),
            "search one.local local\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\n"
        );
        assert_eq!(resolv_conf(&Dns::default()), "");
    }
}
