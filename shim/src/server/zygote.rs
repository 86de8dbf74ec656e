//! The server's zygote, from which guests are copied where there are many of one
//! handler on the node. A guest for which there is none is spawned.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::Interest;
use trireme_container::link::Link;
use trireme_container::process::{Child, EXECUTOR, Spawn, kill_now};
use trireme_container::stdio;
use trireme_container::zygote::{self, ForkError, FromZygote, Role};
use trireme_core::config::ServerMode;
use trireme_core::memory_file;

use super::error::ServiceError;
use super::log::TaskLog;
use super::process::{lock, reap};
use super::ready;
use crate::order::Order;

/// How long a zygote may take to set its engine up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A zygote, or what became of it.
pub(super) struct Zygote(Mutex<State>);

enum State {
    /// None is wanted, or none can be.
    None,
    /// It sets its engine up.
    Warming(Running),
    /// It makes copies.
    Ready(Running),
}

struct Running {
    child: Child,
    link: Link,
}

impl Zygote {
    /// The zygote of a server with this order; none for a server of one pod, whose
    /// few guests would not make up for it.
    pub(super) fn of(order: &Order, executor: &Path) -> Self {
        let state = match order.mode {
            ServerMode::PerPod => State::None,
            // A guest does not need one; why there is none, it is told then.
            ServerMode::PerNode => match start(order, executor) {
                Ok(running) => State::Warming(running),
                Err(_) => State::None,
            },
        };
        Zygote(Mutex::new(state))
    }

    /// Makes a process by a copy, or by spawning where there is no zygote.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the process, or nobody knows whether there is one.
    pub(super) async fn spawn(
        &self,
        spawn: &Spawn<'_>,
        role: Role,
        order: &Order,
        log: &TaskLog,
    ) -> Result<Child, ServiceError> {
        self.warmed(log).await;
        let mut state = lock(&self.0);
        let State::Ready(running) = &*state else {
            return Ok(spawn.spawn()?);
        };
        let error = match spawn.fork(&running.link, role) {
            Ok(child) => return Ok(child),
            Err(ForkError::Refused(error)) => return Err(error.into()),
            Err(error) => error,
        };
        log.warn(&format!("the zygote is started anew: {error}"));
        let next = start(order, spawn.executor).map_or(State::None, State::Warming);
        if let State::Ready(lost) = std::mem::replace(&mut *state, next) {
            give_up(lost);
        }
        drop(state);
        match error {
            ForkError::Gone(_) => Ok(spawn.spawn()?),
            // A copy of it may be there, and would take part in all that is said to another.
            error => Err(ServiceError::Setup(format!(
                "handler \"{}\", engine {}: {error}; start the container again",
                order.engine.handler, order.engine.engine
            ))),
        }
    }

    /// Waits until it has its engine, or until it is certain that it will not: to set up
    /// another for one guest would take as long.
    async fn warmed(&self, log: &TaskLog) {
        loop {
            let (pid, link) = match &*lock(&self.0) {
                State::Warming(running) => {
                    (running.child.pid, running.link.as_fd().try_clone_to_owned())
                }
                _ => return,
            };
            if let Ok(link) = link.and_then(|link| ready::to(link, Interest::READABLE)) {
                let _ = tokio::time::timeout(PATIENCE, link.readable()).await;
            }
            let mut state = lock(&self.0);
            *state = match std::mem::replace(&mut *state, State::None) {
                // Another may have been started meanwhile.
                State::Warming(running) if running.child.pid == pid => warm(running, log),
                other => other,
            };
        }
    }

    /// Ends it.
    pub(super) async fn end(&self) {
        let state = std::mem::replace(&mut *lock(&self.0), State::None);
        if let State::Warming(running) | State::Ready(running) = state {
            let _ = reap(&running.child).await;
        }
    }
}

/// What has become of a zygote by the time that it should have its engine.
fn warm(running: Running, log: &TaskLog) -> State {
    let why = match zygote::word(&running.link) {
        Ok(Some(FromZygote::Ready)) => return State::Ready(running),
        Ok(Some(FromZygote::Failed { message })) => message,
        Ok(Some(other)) => format!("an unexpected word: {other:?}"),
        Ok(None) => format!("its engine is not there after {PATIENCE:?}"),
        Err(error) => error.to_string(),
    };
    log.warn(&format!("guests are spawned, as there is no zygote: {why}"));
    give_up(running);
    State::None
}

fn start(order: &Order, executor: &Path) -> io::Result<Running> {
    let choice = memory_file::sealed_json("engine", &order.engine)?;
    let (here, there) = zygote::link()?;
    let null = stdio::null()?;
    let child = Spawn {
        executor,
        name: EXECUTOR,
        verb: c"zygote",
        stdio: [null.as_fd(); 3],
        terminal: false,
        link: there.as_fd(),
        plan: choice.as_fd(),
        subject: None,
        new_namespaces: 0,
        pid_namespace: None,
        cgroup: None,
    }
    .spawn()
    .map_err(|error| error.source)?;
    Ok(Running { child, link: here })
}

/// Ends a zygote that is of no use, with the copy that it may have made too late, and reaps
/// both.
fn give_up(running: Running) {
    kill_now(running.child.pidfd.as_fd());
    tokio::spawn(async move {
        let _ = reap(&running.child).await;
        if let Some(copy) = zygote::late_copy(&running.link) {
            let _ = reap(&copy).await;
        }
    });
}
