//! A container that exists: what can be done to it, and its end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use trireme_container::SysError;
use trireme_container::cgroup::Cgroup;
use trireme_container::crash;
use trireme_container::process::ProcessId;
use trireme_container::state::{Record, StateDir};
use trireme_core::lifecycle::{Exit, Request};
use trireme_core::plan::Mount;
use trireme_core::spec::oci::LinuxResources;

use super::aside::aside;
use super::error::ServiceError;
use super::events::Events;
use super::exec::{Exec, not_there};
use super::hooks::Hooks;
use super::log::TaskLog;
use super::mounts::Mounts;
use super::native::{kill_all, signal_all};
use super::oom::Oom;
use super::process::{Process, lock};
use super::scope;
use super::tree::Tree;
use crate::wire::events::Event;

/// How long the kernel may take to let go of a cgroup, or to freeze one.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the mounts of a container that has ended stay for its end to be told first.
const TOLD: Duration = Duration::from_millis(20);
/// The pause between two looks at a cgroup.
const PAUSE: Duration = Duration::from_millis(1);

/// How a container's processes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Guests of an engine.
    Wasm,
    /// Linux programs.
    Native,
}

/// A container from its creation to its deletion.
pub struct Container {
    /// Its id.
    pub id: String,
    /// The id of the group, usually a pod, that it belongs to.
    pub group: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its cgroups.
    pub cgroup: Cgroup,
    /// The cgroup of its compilers, for one of them at a time.
    pub(super) compiler: tokio::sync::Mutex<Cgroup>,
    /// What is mounted for it.
    pub(super) mounts: Mounts,
    /// What its root file system was mounted from.
    pub(super) rootfs: Vec<Mount>,
    /// Its first process.
    pub init: Arc<Process>,
    /// What that is.
    pub launcher: Launcher,
    /// The end of the helper that has made that, which has mounts of its own until then.
    pub(super) helper: Mutex<Option<JoinHandle<()>>>,
    /// What is executed beside that, by the ids that clients gave.
    pub(super) execs: Mutex<HashMap<String, Arc<Exec>>>,
    /// Whether init has ended, or is about to have.
    pub(super) ending: AtomicBool,
    /// Where Linux programs run beside a guest.
    pub(super) tree: Tree,
    /// What has been told of want of memory.
    pub(super) oom: Oom,
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

    /// Its process of this id: init has none, and others have those of their execs.
    pub fn process(&self, exec_id: &str) -> Result<Arc<Process>, ServiceError> {
        if exec_id.is_empty() {
            return Ok(self.init.clone());
        }
        self.exec(exec_id).map(|exec| exec.process.clone())
    }

    /// What is executed under an id.
    pub fn exec(&self, exec_id: &str) -> Result<Arc<Exec>, ServiceError> {
        let execs = lock(&self.execs);
        execs
            .get(exec_id)
            .cloned()
            .ok_or_else(|| not_there(exec_id))
    }

    /// The id of the process that has this pid, unless it is init's.
    pub fn exec_of(&self, pid: u32) -> Option<String> {
        lock(&self.execs)
            .values()
            .find(|exec| exec.process.is_alive() && exec.process.pid() == pid)
            .map(|exec| exec.id.clone())
    }

    /// Promises to run another program.
    pub fn add(&self, exec: Exec, events: &Events) -> Result<(), ServiceError> {
        let mut execs = lock(&self.execs);
        if execs.contains_key(&exec.id) {
            return Err(ServiceError::AlreadyExists(format!("id {}", exec.id)));
        }
        self.init.state().allows(Request::Exec)?;
        events.send(&Event::ExecAdded {
            id: self.id.clone(),
            exec_id: exec.id.clone(),
        });
        execs.insert(exec.id.clone(), Arc::new(exec));
        Ok(())
    }

    /// Removes what is left of a program that was executed.
    pub async fn delete_exec(&self, exec: &Exec) -> Result<Exit, ServiceError> {
        exec.process.is_to_end();
        let exit = exec.delete().await?;
        if let Some(logger) = exec.process.logger() {
            self.forget_logger(logger);
        }
        lock(&self.execs).remove(&exec.id);
        Ok(exit)
    }

    /// Whether init has ended, or is about to have.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Adds a process that was spawned beside init to the state on disk.
    pub(super) fn remember(&self, pid: i32) -> Result<(), ServiceError> {
        let process = ProcessId::of(pid).ok();
        self.state_dir
            .change(|record| record.processes.extend(process))?;
        Ok(())
    }

    /// Adds a logging binary to the state on disk.
    pub(super) fn remember_logger(&self, pid: i32) -> Result<(), ServiceError> {
        let process = ProcessId::of(pid).ok();
        self.state_dir
            .change(|record| record.loggers.extend(process))?;
        Ok(())
    }

    /// Takes a process that has been reaped out of the state on disk.
    pub(super) fn forget(&self, pid: u32) {
        self.change(|record| {
            let processes = &mut record.processes;
            processes.retain(|process| process.pid.unsigned_abs() != pid);
        });
    }

    fn forget_logger(&self, pid: i32) {
        self.change(|record| record.loggers.retain(|process| process.pid != pid));
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        if let Err(error) = self.state_dir.change(change) {
            self.log.warn(&error.to_string());
        }
    }

    /// Ends all that was executed beside init. Its pid namespace has done so,
    /// where it has one; what was on its way is given up.
    async fn end_execs(&self) {
        self.ending.store(true, Ordering::Relaxed);
        let execs: Vec<_> = lock(&self.execs).values().cloned().collect();
        for exec in &execs {
            exec.end().await;
        }
        for exec in execs.iter().filter(|exec| exec.process.is_alive()) {
            exec.process.wait().await;
        }
    }

    /// Lets the guest run.
    pub async fn start(self: &Arc<Self>, events: &Events) -> Result<(), ServiceError> {
        let _change = self.change.lock().await;
        self.init.state().allows(Request::Start)?;
        self.init.start()?;
        events.send(&Event::Start {
            id: self.id.clone(),
            pid: self.pid(),
        });
        if self.launcher == Launcher::Native {
            self.watch_memory(events);
        }
        self.hooks.poststart(self.pid(), &self.log).await;
        self.init.has_started();
        Ok(())
    }

    /// Sends a signal to one of its processes, or with it to all others.
    pub fn kill(&self, process: &Process, signal: u32, all: bool) -> Result<(), ServiceError> {
        let number = i32::try_from(signal).unwrap_or(i32::MAX);
        process.kill(number)?;
        let is_init = std::ptr::eq(process, &raw const *self.init);
        // As in runc's shim, a process beside init stands for itself alone.
        if all && is_init {
            let mut others = self.cgroup.pids()?;
            others.retain(|pid| pid.unsigned_abs() != process.pid());
            signal_all(&others, number);
        }
        // A frozen process gets even SIGKILL only when it is thawed, and it may be
        // freezing just now.
        if number == libc::SIGKILL && is_init {
            self.cgroup.set_frozen(false)?;
        }
        Ok(())
    }

    /// Ends init whatever its state, and whether it is paused; its end is reported on its own.
    pub fn kill_now(&self) {
        self.init.kill_now();
        if let Err(error) = self.cgroup.set_frozen(false) {
            self.log.warn(&error.to_string());
        }
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
        // Where systemd makes the cgroup it may stand still meanwhile, and go on afterwards.
        let _change = match self.cgroup.is_systemds() {
            true => Some(self.change.lock().await),
            false => None,
        };
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
        self.init.state_now().allows(Request::Delete)?;
        self.init.is_to_end();
        if self.init.state().exit().is_none() {
            self.kill_now();
        }
        let exit = self.init.wait().await;
        self.init.output_moved().await;
        self.helper_gone().await;
        remove_cgroup(&self.cgroup, &self.log).await;
        self.mounts.gone().await;
        let execs = std::mem::take(&mut *lock(&self.execs));
        execs.values().for_each(|exec| exec.never_ran());
        crash::step("before_unlink");
        self.state_dir.remove()?;
        *is_deleted = true;
        self.hooks.poststop(&self.log).await;
        Ok(exit)
    }

    /// Returns when the helper that has made a Linux container is gone.
    async fn helper_gone(&self) {
        let helper = lock(&self.helper).take();
        if let Some(helper) = helper
            && tokio::time::timeout(PATIENCE, helper).await.is_err()
        {
            self.log.warn("the helper that has made it does not end");
        }
    }

    /// Sees init to its end and tells the world.
    pub async fn watch(self: Arc<Self>, events: Events) {
        let ((exit, streams), oom_kills) =
            scope::until(&self.cgroup, self.init.end(&self.log)).await;
        let mut streams = Some(streams);
        if self.launcher == Launcher::Native || !lock(&self.execs).is_empty() {
            // To end those may take a while, and whoever reads has to know of the end.
            streams.take();
        }
        if self.launcher == Launcher::Native {
            // In a pid namespace that others share, its children go on.
            let cgroup = self.cgroup.clone();
            aside(move || kill_all(&cgroup)).await;
        }
        self.end_execs().await;
        self.fell().await;
        self.init.has_ended(exit);
        self.end_memory(oom_kills.max(self.cgroup.oom_kills()), &events);
        events.send(&Event::Exit {
            id: self.id.clone(),
            process: self.id.clone(),
            pid: self.pid(),
            exit,
        });
        // Those who wait for the end answer their clients first, as far as this thread decides.
        tokio::task::yield_now().await;
        drop(streams);
        events.drained(TOLD).await;
        self.mounts.let_go();
        // Once it is deleted they may be another container's.
        if let Ok(is_deleted) = self.change.try_lock()
            && !*is_deleted
            && self.launcher == Launcher::Wasm
            && lock(&self.execs).is_empty()
        {
            self.cgroup.remove_without_accounts();
        }
    }
}

/// Removes a container's cgroups. The kernel lets go of one a moment after its
/// last process; one that stays is reported.
pub(super) async fn remove_cgroup(cgroup: &Cgroup, log: &TaskLog) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = removed(cgroup).await {
        if tokio::time::Instant::now() > deadline {
            log.warn(&error.to_string());
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn removed(cgroup: &Cgroup) -> Result<(), SysError> {
    if !cgroup.is_systemds() {
        return cgroup.remove();
    }
    let cgroup = cgroup.clone();
    aside(move || cgroup.remove()).await
}
