//! Telling that the kernel has killed a process of a container for want of memory
//! while the container goes on.
//!
//! A guest is its container's only process, whose end is told in any case: one
//! descriptor is watched as soon as there may be others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;
use trireme_container::cgroup::MemoryNews;

use super::container::Container;
use super::events::Events;
use super::ready;
use crate::wire::events::Event;

/// How long the kernel may take from its news to what it has killed, on v1.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two looks: systemd removes a count soon.
const PAUSE: Duration = Duration::from_millis(1);

/// What has been told, and who watches.
#[derive(Default)]
pub(super) struct Oom {
    told: AtomicU64,
    watch: OnceLock<AbortHandle>,
}

impl Container {
    /// Tells from here on of each process that the kernel kills for want of memory.
    pub(super) fn watch_memory(self: &Arc<Self>, events: &Events) {
        let (container, events) = (self.clone(), events.clone());
        self.oom.watch.get_or_init(|| {
            let watch = async move {
                // A host without a memory controller has nothing to tell.
                let news = container.cgroup.memory_news();
                if let Some(mut news) = news.ok().and_then(watched) {
                    // What came before there was a watch.
                    container.tell_kills(container.cgroup.oom_kills(), &events);
                    while changed(&mut news).await.is_some() {
                        let tell = || container.tell_kills(container.cgroup.oom_kills(), &events);
                        counted(&news, tell).await;
                    }
                }
            };
            tokio::spawn(watch).abort_handle()
        });
    }

    /// Tells it where there are more than have been told of.
    fn tell_kills(&self, kills: u64, events: &Events) -> bool {
        let is_news = self.oom.told.fetch_max(kills, Ordering::Relaxed) < kills;
        if is_news {
            events.send(&Event::Oom {
                id: self.id.clone(),
            });
        }
        is_news
    }

    /// Tells what has not been told when the container has ended.
    pub(super) fn end_memory(&self, kills: u64, events: &Events) {
        if let Some(watch) = self.oom.watch.get() {
            watch.abort();
        }
        self.tell_kills(kills, events);
    }
}

/// News that can be waited for.
pub(super) fn watched(news: MemoryNews) -> Option<AsyncFd<MemoryNews>> {
    let interest = interest(&news);
    ready::to(news, interest).ok()
}

fn interest(news: &MemoryNews) -> Interest {
    if news.is_by_priority() {
        Interest::PRIORITY
    } else {
        Interest::READABLE
    }
}

/// Waits for news; `None` when there will be none any more.
pub(super) async fn changed(news: &mut AsyncFd<MemoryNews>) -> Option<()> {
    let interest = interest(news.get_ref());
    news.ready(interest).await.ok()?.clear_ready();
    news.get_mut().take().ok()
}

/// Looks at a count after news, until it has grown. On v2 the count is the news, which may be of
/// other events; on v1 it follows them.
pub(super) async fn counted(news: &AsyncFd<MemoryNews>, has_grown: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !has_grown() {
        let is_v2 = news.get_ref().is_by_priority();
        if is_v2 || tokio::time::Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
