//! Cgroups that systemd makes. It makes none without a process in it, and the
//! container has none yet: until it has, a process that does nothing is there.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::unix::AsyncFd;
use trireme_container::cgroup::Cgroup;
use trireme_container::link::Link;
use trireme_container::process::{Child, Spawn};
use trireme_container::stdio;
use trireme_core::memory_file;
use trireme_core::spec::oci::LinuxResources;

use super::aside::aside;
use super::create::Maker;
use super::error::ServiceError;
use super::oom;
use super::process::reap;
use super::ready;

/// The process that is in a scope.
pub(super) struct Holder {
    child: Child,
    /// It ends with this.
    _link: AsyncFd<Link>,
}

impl Holder {
    /// Has systemd make a container's cgroup around a new process; none where
    /// the cgroup is not systemd's.
    pub(super) async fn enter(
        maker: &Maker,
        cgroup: &Cgroup,
        resources: Option<&LinuxResources>,
    ) -> Result<Option<Self>, ServiceError> {
        if !cgroup.is_systemds() {
            return Ok(None);
        }
        let holder = Self::spawn(maker)?;
        let (pid, cgroup, resources) = (holder.child.pid, cgroup.clone(), resources.cloned());
        match aside(move || cgroup.start_scope(pid, resources.as_ref())).await {
            Ok(()) => Ok(Some(holder)),
            Err(error) => {
                holder.leave().await;
                Err(error.into())
            }
        }
    }

    fn spawn(maker: &Maker) -> Result<Self, ServiceError> {
        let failed =
            |error: io::Error| ServiceError::Setup(format!("cannot hold a scope: {error}"));
        let nothing = memory_file::sealed_json("nothing", &()).map_err(failed)?;
        let (here, there) = ready::link().map_err(failed)?;
        let null = stdio::null().map_err(failed)?;
        let child = Spawn {
            executor: &maker.shim,
            name: c"trireme-shim",
            verb: c"hold",
            stdio: [null.as_fd(); 3],
            terminal: false,
            link: there.as_fd(),
            plan: nothing.as_fd(),
            subject: None,
            new_namespaces: 0,
            pid_namespace: None,
            cgroup: None,
        }
        .spawn()?;
        Ok(Self { child, _link: here })
    }

    /// Its pid.
    pub(super) fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Ends it.
    pub(super) async fn leave(self) {
        let _ = reap(&self.child).await;
    }
}

/// Waits for the end of a container, and counts what the kernel has killed in it
/// for want of memory: systemd removes a scope that is empty, and the count with
/// it, so it is read whenever it changes.
pub(super) async fn until<T>(cgroup: &Cgroup, end: impl Future<Output = T>) -> (T, u64) {
    let news = cgroup.is_systemds().then(|| cgroup.memory_news().ok());
    let Some(mut news) = news.flatten().and_then(oom::watched) else {
        let ended = end.await;
        return (ended, cgroup.oom_kills());
    };
    let kills = AtomicU64::new(0);
    let has_grown = || {
        let now = cgroup.oom_kills();
        kills.fetch_max(now, Ordering::Relaxed) < now
    };
    let count = async {
        while oom::changed(&mut news).await.is_some() {
            oom::counted(&news, has_grown).await;
        }
    };
    let mut end = pin!(end);
    let ended = tokio::select! {
        biased;
        () = count => end.await,
        ended = &mut end => {
            has_grown();
            ended
        }
    };
    (ended, kills.into_inner())
}
