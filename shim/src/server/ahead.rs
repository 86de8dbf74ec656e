//! Containers that `start` has announced. While containerd finds the server and brings it the
//! Create, a container's cgroup is made, and the process in it that becomes its init: of that,
//! Create knows no more than the specification does, which is in the bundle already.
//!
//! What cannot be made here is tried anew, and told, by Create.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use trireme_container::link::{InitOrder, Link, ToInit};
use trireme_container::process::Child;
use trireme_core::config::ServerMode;
use trireme_core::memory_file;
use trireme_core::plan::{NamespaceKind, Namespaces};
use trireme_core::request::EngineChoice;
use trireme_core::spec::{self, oci};

use super::create::Maker;
use super::error::ServiceError;
use super::hooks::Hooks;
use super::lifetime::is_recent;
use super::log::TaskLog;
use super::peers::Peers;
use super::process::{lock, reap};
use super::ready;
use super::service::Service;
use super::site::{Site, resources};
use super::sketch::Sketch;
use super::spawn::{Birth, say};
use crate::folder::STARTING;
use crate::newcomers::PATIENCE;

/// What is there of a container whose Create has not come yet.
pub(super) struct Early {
    /// The specification as it was in the bundle.
    text: Vec<u8>,
    pub spec: oci::Spec,
    /// What it is to be, or why it cannot be.
    pub sketch: Result<Sketch, ServiceError>,
    pub site: Site,
    pub init: EarlyInit,
}

/// A process that waits for its plan.
pub(super) struct EarlyInit {
    pub child: Child,
    pub link: AsyncFd<Link>,
    /// Whether it has been given a network namespace that was made ahead.
    pub network: bool,
    /// Whether it has been given the container's plan, and lacks the root file system alone.
    pub has_plan: bool,
}

impl Early {
    /// Whether this is the container of a bundle with this specification, and its process lives.
    /// `start` has the folder's real path, and a Create may name a link to it.
    pub fn is_of(&self, bundle: &Path, text: &[u8]) -> bool {
        self.text == text
            && is_same(&self.site.record.bundle, bundle)
            && matches!(self.init.child.try_wait(), Ok(None))
    }

    /// Ends and removes it.
    pub async fn discard(self) {
        self.init.end().await;
        self.site.clear().await;
    }
}

fn is_same(folder: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|seen| (seen.dev(), seen.ino()));
    folder == other || matches!((id(folder), id(other)), (Ok(one), Ok(two)) if one == two)
}

impl EarlyInit {
    pub async fn end(self) {
        let _ = reap(&self.child).await;
    }

    /// Gives it the plan of a guest. Whatever comes of that, it waits.
    fn prepare(&mut self, sketch: &Sketch, site: &Site) {
        if sketch.refusal.is_some() {
            return;
        }
        let order = InitOrder {
            plan: sketch.plan.clone(),
            filter: sketch.filter.clone(),
            network: self.network,
            hooks: Hooks::of(&site.record).before_start(),
            look: false,
            terminal: false,
        };
        let order = memory_file::sealed_json("plan", &order);
        self.has_plan =
            order.is_ok_and(|order| say(&self.link, &ToInit::Plan, Some(order.as_fd())).is_ok());
    }
}

/// The containers that were announced, by their ids.
#[derive(Clone)]
pub(super) struct Ahead {
    entries: Arc<Mutex<Entries>>,
    /// Told when there is one less.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Entries {
    of: HashMap<String, Entry>,
    /// Grows with each announcement.
    count: u64,
}

impl Entries {
    fn holds(&self, id: &str, number: u64) -> bool {
        let entry = self.of.get(id);
        entry.is_some_and(|entry| entry.number == number)
    }
}

struct Entry {
    number: u64,
    /// Ends with what there is of the container, once that is made; or with nothing, once that is
    /// removed.
    making: JoinHandle<Option<Early>>,
}

impl Ahead {
    pub fn new(changed: Arc<Notify>) -> Self {
        Ahead {
            entries: Arc::default(),
            changed,
        }
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.entries).of.is_empty()
    }

    /// What there is of a container, when that is made.
    pub async fn take(&self, id: &str) -> Option<Early> {
        let entry = lock(&self.entries).of.remove(id)?;
        entry.making.await.ok()?
    }

    /// Ends and removes what there is of a container, and returns whether there was any. That is
    /// done even if nobody waits for it any more, and a Create that comes meanwhile waits.
    pub async fn discard(&self, id: &str) -> bool {
        let (done, removed) = oneshot::channel::<()>();
        {
            let mut entries = lock(&self.entries);
            let Some(Entry { number, making }) = entries.of.remove(id) else {
                return false;
            };
            let (ahead, name) = (self.clone(), id.to_owned());
            let making = tokio::spawn(async move {
                if let Ok(Some(early)) = making.await {
                    early.discard().await;
                }
                ahead.forget(&name, number);
                drop(done);
                None
            });
            entries.of.insert(id.to_owned(), Entry { number, making });
        }
        let _ = removed.await;
        true
    }

    fn begin(&self, service: &Arc<Service>, id: &str, bundle: PathBuf) {
        let mut entries = lock(&self.entries);
        if entries.of.contains_key(id) {
            return;
        }
        entries.count += 1;
        let number = entries.count;
        let (of, name) = (service.clone(), id.to_owned());
        let making = tokio::spawn(async move {
            let early = of.maker().early(&name, &bundle).await;
            if early.is_none() {
                of.ahead().forget(&name, number);
            }
            early
        });
        entries.of.insert(id.to_owned(), Entry { number, making });
        let (of, name) = (service.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            if of.ahead().holds(&name, number) {
                of.ahead().discard(&name).await;
            }
        });
    }

    /// There is nothing of it.
    fn forget(&self, id: &str, number: u64) {
        let mut entries = lock(&self.entries);
        if entries.holds(id, number) {
            entries.of.remove(id);
            self.changed.notify_one();
        }
    }

    fn holds(&self, id: &str, number: u64) -> bool {
        lock(&self.entries).holds(id, number)
    }
}

/// Has each task that was announced made ahead; and for a server of the node, each that will be.
/// A server of one pod has few, and the kernel gives few users of it news of a folder
/// (`fs.inotify.max_user_instances`). Without, none is.
///
/// A new server waits until containerd has connected to it: if it dies before that, nobody
/// cleans up after it but a server that comes much later.
pub(super) fn watch(service: &Arc<Service>, peers: &Peers) {
    let folder = service.order().dir.join(STARTING);
    let is_shared = service.order().mode == ServerMode::PerNode;
    let news = is_shared.then(|| news_of(&folder).ok()).flatten();
    let (first, service) = (peers.first(), service.clone());
    tokio::spawn(async move {
        first.await;
        let before = fs::read_dir(&folder).into_iter().flatten().flatten();
        for file in before.filter(is_recent) {
            announced(&service, &file.file_name().to_string_lossy());
        }
        let Some(news) = news else { return };
        loop {
            let Ok(mut guard) = news.readable().await else {
                return;
            };
            let mut space = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(news.get_ref(), &mut space);
            loop {
                match reader.next() {
                    Ok(event) => {
                        if let Some(id) = event.file_name().and_then(|name| name.to_str().ok()) {
                            announced(&service, id);
                        }
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::WOULDBLOCK) => break guard.clear_ready(),
                    Err(_) => return,
                }
            }
        }
    });
}

fn news_of(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let news = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    inotify::add_watch(&news, folder, WatchFlags::CLOSE_WRITE)?;
    ready::to(news, Interest::READABLE)
}

fn announced(service: &Arc<Service>, id: &str) {
    let file = service.order().dir.join(STARTING).join(id);
    match fs::read(file) {
        Ok(bundle) if !bundle.is_empty() && !service.knows(id) => {
            let bundle = PathBuf::from(OsString::from_vec(bundle));
            service.ahead().begin(service, id, bundle);
        }
        // Its Create was quicker.
        _ => {}
    }
}

impl Maker {
    /// Makes what can be made of a container without its Create.
    async fn early(&self, id: &str, bundle: &Path) -> Option<Early> {
        let text = spec::text(bundle).ok()?;
        let spec: oci::Spec = spec::parse(bundle, &text).ok()?;
        let namespaces = spec.linux().as_ref()?.namespaces().as_deref();
        let namespaces = Namespaces::from_spec(namespaces.unwrap_or_default()).ok()?;
        let joins_pids = |(kind, _)| kind == NamespaceKind::Pid;
        let cgroup = self.cgroup(&spec, id).ok()?;
        if namespaces.joined().any(joins_pids)
            || self.is_furnished(&spec, id)
            || cgroup.is_systemds()
            // It is others' already, and Create refuses it.
            || !cgroup.pids().is_ok_and(|pids| pids.is_empty())
        {
            return None;
        }
        let log = TaskLog::open(bundle, id, self.order.debug);
        let site = self.site(&spec, id, bundle, cgroup, log).ok()?;
        match self.early_init(&spec, &namespaces, &site).await {
            Ok(mut init) => {
                let filter = self.filters.of(&spec).await;
                let sketch = self.sketch(&spec, filter, id, bundle);
                if let Ok(sketch) = &sketch {
                    init.prepare(sketch, &site);
                }
                Some(Early {
                    text,
                    spec,
                    sketch,
                    site,
                    init,
                })
            }
            Err(_) => {
                site.clear().await;
                None
            }
        }
    }

    /// The engine, where it can do no harm to a container that needs none: it takes a moment and
    /// memory, and a plugin as much as it likes. The first container of a pod by CRI is a Linux
    /// program.
    fn engine_ahead(&self, spec: &oci::Spec) -> Option<&EngineChoice> {
        let annotations = spec.annotations().as_ref();
        let kind = annotations.and_then(|all| all.get("io.kubernetes.cri.container-type"));
        let is_pause = kind.is_some_and(|kind| kind == "sandbox");
        let memory = resources(spec).and_then(|limits| limits.memory().as_ref());
        let is_limited = memory.is_some_and(|memory| memory.limit().is_some());
        let is_plugin = self.order.engine.plugin.is_some();
        (!is_pause && !is_limited && !is_plugin).then_some(&self.order.engine)
    }

    async fn early_init(
        &self,
        spec: &oci::Spec,
        namespaces: &Namespaces,
        site: &Site,
    ) -> Result<EarlyInit, ServiceError> {
        if !site.cgroup().may_follow() {
            site.set_limits(resources(spec), None)?;
        }
        let network = self.network(namespaces);
        let birth = Birth {
            engine: self.engine_ahead(spec),
            ..Birth::of_init(site.cgroup(), namespaces, network.as_ref())
        };
        let (child, link) = self.bear(spec, None, &birth, site).await?;
        let init = EarlyInit {
            child,
            link,
            network: network.is_some(),
            has_plan: false,
        };
        match site.remember_early(init.child.pid) {
            Ok(()) => Ok(init),
            Err(error) => {
                init.end().await;
                Err(error)
            }
        }
    }
}
