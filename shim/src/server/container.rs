//! A container that exists: what can be done to it, and its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use trireme_container::cgroup::Cgroup;
use trireme_container::crash;
use trireme_container::state::StateDir;
use trireme_core::lifecycle::{Exit, Request};
use trireme_core::spec::oci::LinuxResources;

use super::aside::aside;
use super::error::ServiceError;
use super::events::Events;
use super::hooks::Hooks;
use super::log::TaskLog;
use super::process::Process;
use crate::wire::events::Event;

/// How long the kernel may take to let go of a cgroup, or to freeze one.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two looks at a cgroup.
const PAUSE: Duration = Duration::from_millis(1);

/// A container from its creation to its deletion.
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its cgroups.
    pub cgroup: Cgroup,
    /// Its first process.
    pub init: Arc<Process>,
    pub(super) state_dir: StateDir,
    pub(super) hooks: Hooks,
    pub(super) log: TaskLog,
    /// Held by a call that changes the state; whether it is deleted.
    pub(super) change: tokio::sync::Mutex<bool>,
}

impl Container {
    /// The pid of init in the server's pid namespace.
    pub fn pid(&self) -> u32 {
        self.init.pid()
    }

    /// Its process of this id: init, whose id is empty, is the only one.
    pub fn process(&self, exec_id: &str) -> Result<Arc<Process>, ServiceError> {
        if exec_id.is_empty() {
            return Ok(self.init.clone());
        }
        let reason = format!("process does not exist {exec_id}");
        Err(ServiceError::NotFound(reason))
    }

    /// Lets the guest run.
    pub async fn start(&self, events: &Events) -> Result<(), ServiceError> {
        let _change = self.change.lock().await;
        self.init.state().allows(Request::Start)?;
        self.init.start()?;
        events.send(&Event::Start {
            id: self.id.clone(),
            pid: self.pid(),
        });
        self.hooks.poststart(self.pid(), &self.log).await;
        Ok(())
    }

    /// Sends a signal to one of its processes.
    pub fn kill(&self, process: &Process, signal: u32) -> Result<(), ServiceError> {
        let number = i32::try_from(signal).unwrap_or(i32::MAX);
        process.kill(number)?;
        // A frozen process gets even SIGKILL only when it is thawed, and it may be
        // freezing just now.
        if number == libc::SIGKILL {
            self.cgroup.set_frozen(false)?;
        }
        Ok(())
    }

    /// Freezes it; returns when nothing in it runs any more.
    pub async fn pause(&self, events: &Events) -> Result<(), ServiceError> {
        let _change = self.change.lock().await;
        self.init.state().allows(Request::Pause)?;
        self.cgroup.set_frozen(true)?;
        let frozen = async {
            while !self.cgroup.is_frozen() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(PATIENCE, frozen).await.is_err() {
            self.cgroup.set_frozen(false)?;
            return Err(ServiceError::Setup(
                "the container's cgroup does not freeze".into(),
            ));
        }
        self.init.has_done(Request::Pause);
        events.send(&Event::Paused {
            id: self.id.clone(),
        });
        Ok(())
    }

    /// Thaws it.
    pub async fn resume(&self, events: &Events) -> Result<(), ServiceError> {
        let _change = self.change.lock().await;
        self.init.state().allows(Request::Resume)?;
        self.cgroup.set_frozen(false)?;
        self.init.has_done(Request::Resume);
        events.send(&Event::Resumed {
            id: self.id.clone(),
        });
        Ok(())
    }

    /// Changes its resources. The kernel may take its time to make a limit
    /// hold.
    pub async fn update(&self, resources: LinuxResources) -> Result<(), ServiceError> {
        self.init.state().allows(Request::Update)?;
        let cgroup = self.cgroup.clone();
        Ok(aside(move || cgroup.update(&resources)).await?)
    }

    /// Every process in it. A container that has ended has its init until it
    /// is deleted: containerd takes an empty list for a shim without a task.
    pub fn pids(&self) -> Result<Vec<u32>, ServiceError> {
        let pids: Vec<_> = self
            .cgroup
            .pids()?
            .into_iter()
            .map(i32::unsigned_abs)
            .collect();
        Ok(if pids.is_empty() {
            vec![self.pid()]
        } else {
            pids
        })
    }

    /// Removes what is left of it. One that was never started is ended first.
    pub async fn delete(&self) -> Result<Exit, ServiceError> {
        let mut is_deleted = self.change.lock().await;
        if *is_deleted {
            return Err(ServiceError::NotFound("container not created".into()));
        }
        self.init.state().allows(Request::Delete)?;
        if self.init.state().exit().is_none() {
            self.init.kill_now();
        }
        let exit = self.init.wait().await;
        self.init.output_moved().await;
        remove_cgroup(&self.cgroup, &self.log).await;
        crash::step("before_unlink");
        self.state_dir.remove()?;
        *is_deleted = true;
        self.hooks.poststop(&self.log).await;
        Ok(exit)
    }

    /// Sees init to its end and tells the world.
    pub async fn watch(self: Arc<Self>, events: Events) {
        let exit = self.init.end(&self.log).await;
        self.init.has_ended(exit);
        if self.cgroup.oom_kills() > 0 {
            events.send(&Event::Oom {
                id: self.id.clone(),
            });
        }
        events.send(&Event::Exit {
            id: self.id.clone(),
            pid: self.pid(),
            exit,
        });
    }
}

/// Removes a container's cgroups. The kernel lets go of one a moment after its
/// last process; one that stays is reported, and left to `delete`.
pub(super) async fn remove_cgroup(cgroup: &Cgroup, log: &TaskLog) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = cgroup.remove() {
        if tokio::time::Instant::now() > deadline {
            log.warn(&error.to_string());
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
