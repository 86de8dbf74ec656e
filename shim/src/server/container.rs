//! A container that exists: what can be done to it, and its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use trireme_container::cgroup::Cgroup;
use trireme_container::link::{Link, ToInit};
use trireme_container::process::{Child, kill_now};
use trireme_container::state::StateDir;
use trireme_container::{crash, stdio};
use trireme_core::lifecycle::{Exit, Request, State};
use trireme_core::plan::TerminalSize;
use trireme_core::spec::oci::LinuxResources;

use super::aside::aside;
use super::error::ServiceError;
use super::events::Events;
use super::hooks::Hooks;
use super::log::TaskLog;
use super::ready;
use super::terminal::Terminal;
use crate::wire::events::Event;

/// How long the kernel may take to let go of a cgroup, or to freeze one.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client may take to open and read the outputs of a container that
/// has ended.
const LATE_READER: Duration = Duration::from_millis(500);
/// The pause between two looks at a cgroup or a FIFO.
const PAUSE: Duration = Duration::from_millis(1);

/// The streams as the client named them.
#[derive(Clone, Debug, Default)]
pub struct StreamNames {
    /// Standard input.
    pub stdin: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether they are one terminal.
    pub terminal: bool,
}

/// A container from its creation to its deletion.
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its streams.
    pub streams: StreamNames,
    /// Its cgroups.
    pub cgroup: Cgroup,
    pub(super) child: Child,
    pub(super) link: Mutex<Option<Link>>,
    pub(super) state: watch::Sender<State>,
    pub(super) hold: Mutex<Option<OwnedFd>>,
    pub(super) outputs: Mutex<Vec<OwnedFd>>,
    pub(super) terminal: Option<Terminal>,
    pub(super) state_dir: StateDir,
    pub(super) hooks: Hooks,
    pub(super) log: TaskLog,
    /// Held by a call that changes the state; whether it is deleted.
    pub(super) change: tokio::sync::Mutex<bool>,
}

impl Container {
    /// The pid of init in the server's pid namespace.
    pub fn pid(&self) -> u32 {
        self.child.pid.unsigned_abs()
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Exit {
        let mut state = self.state.subscribe();
        loop {
            if let Some(exit) = state.borrow_and_update().exit() {
                return exit;
            }
            // The sender lives as long as this container.
            let _ = state.changed().await;
        }
    }

    /// Lets the guest run.
    pub async fn start(&self, events: &Events) -> Result<(), ServiceError> {
        let _change = self.change.lock().await;
        self.state().allows(Request::Start)?;
        let link = lock(&self.link).take();
        let sent = link.map(|link| link.send(&ToInit::Start, None));
        if !matches!(sent, Some(Ok(()))) {
            return Err(ServiceError::Setup(
                "the container's init process is gone".into(),
            ));
        }
        self.state
            .send_modify(|state| *state = state.after(Request::Start));
        events.send(&Event::Start {
            id: self.id.clone(),
            pid: self.pid(),
        });
        self.hooks.poststart(self.pid(), &self.log).await;
        Ok(())
    }

    /// Sends a signal.
    pub fn kill(&self, signal: u32) -> Result<(), ServiceError> {
        self.state().allows(Request::Kill)?;
        let number = i32::try_from(signal).unwrap_or(i32::MAX);
        self.child
            .kill(number)
            .map_err(|error| ServiceError::InvalidArgument(format!("signal {signal}: {error}")))?;
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
        self.state().allows(Request::Pause)?;
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
        self.state
            .send_modify(|state| *state = state.after(Request::Pause));
        events.send(&Event::Paused {
            id: self.id.clone(),
        });
        Ok(())
    }

    /// Thaws it.
    pub async fn resume(&self, events: &Events) -> Result<(), ServiceError> {
        let _change = self.change.lock().await;
        self.state().allows(Request::Resume)?;
        self.cgroup.set_frozen(false)?;
        self.state
            .send_modify(|state| *state = state.after(Request::Resume));
        events.send(&Event::Resumed {
            id: self.id.clone(),
        });
        Ok(())
    }

    /// Changes its resources. The kernel may take its time to make a limit
    /// hold.
    pub async fn update(&self, resources: LinuxResources) -> Result<(), ServiceError> {
        self.state().allows(Request::Update)?;
        let cgroup = self.cgroup.clone();
        Ok(aside(move || cgroup.update(&resources)).await?)
    }

    /// Lets standard input end.
    pub fn close_stdin(&self) {
        lock(&self.hold).take();
    }

    /// Resizes its terminal, if it has one.
    pub fn resize(&self, size: TerminalSize) -> Result<(), ServiceError> {
        match &self.terminal {
            Some(terminal) => Ok(stdio::resize(terminal.master(), size)?),
            None => Ok(()),
        }
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
        self.state().allows(Request::Delete)?;
        if self.state().exit().is_none() {
            kill_now(self.child.pidfd.as_fd());
        }
        let exit = self.wait().await;
        if let Some(terminal) = &self.terminal {
            terminal.finished().await;
        }
        remove_cgroup(&self.cgroup, &self.log).await;
        crash::step("before_unlink");
        self.state_dir.remove()?;
        *is_deleted = true;
        self.hooks.poststop(&self.log).await;
        Ok(exit)
    }

    /// Keeps what the guest has written until its client has opened the other
    /// end and read it. A client that is not there any more is not waited for
    /// long: the end of the output is part of the container's end.
    async fn let_go_of_outputs(&self) {
        let outputs = std::mem::take(&mut *lock(&self.outputs));
        let read = async {
            while !outputs.iter().all(|fifo| stdio::is_drained(fifo.as_fd())) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(LATE_READER, read).await;
    }

    /// Sees init to its end and tells the world.
    pub async fn watch(self: Arc<Self>, events: Events) {
        let status = match ended(&self.child).await {
            Ok(status) => status,
            Err(error) => {
                self.log.warn(&format!("cannot wait for init: {error}"));
                crate::delete::LOST
            }
        };
        let exit = Exit {
            status,
            at: SystemTime::now(),
        };
        crash::step("after_exit");
        if let Some(terminal) = &self.terminal {
            terminal.drain().await;
        }
        self.let_go_of_outputs().await;
        self.close_stdin();
        self.state.send_modify(|state| *state = state.ended(exit));
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

/// Waits for the end of a child and reaps it.
async fn ended(child: &Child) -> io::Result<u32> {
    let pidfd = ready::of(child.pidfd.as_fd())?;
    loop {
        let mut ready = pidfd.readable().await?;
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ready.clear_ready();
    }
}

/// Ends a child and reaps it.
pub(super) async fn reap(child: &Child) -> io::Result<u32> {
    kill_now(child.pidfd.as_fd());
    ended(child).await
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

/// Waits for a message on a link that does not block.
pub(super) async fn receive<T: serde::de::DeserializeOwned>(
    link: &AsyncFd<Link>,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    loop {
        let mut ready = link.readable().await?;
        match link.get_ref().receive() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            other => return other,
        }
    }
}

/// A lock that a panic elsewhere does not take away: the process aborts then.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
