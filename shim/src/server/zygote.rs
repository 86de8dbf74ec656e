//! The server's zygote, from which guests are copied where there are many of one
//! handler on the node. A guest for which there is none is spawned.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use trireme_container::link::Link;
use trireme_container::process::{Child, EXECUTOR, Spawn, kill_now};
use trireme_container::stdio;
use trireme_container::zygote::{self, ForkError, FromZygote, Role};
use trireme_core::config::ServerMode;
use trireme_core::memory_file;

use super::build::EngineBuild;
use super::error::ServiceError;
use super::log::TaskLog;
use super::process::{ended, reap, receive};
use super::ready;
use crate::order::Order;

/// How long a zygote may take to set its engine up, or to make a copy. The kernel makes one
/// in a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long guests are spawned after a zygote that said nothing, before another is tried.
const REST: Duration = Duration::from_secs(10);

/// A zygote, or what became of it.
pub(super) struct Zygote {
    state: Mutex<State>,
    build: Arc<EngineBuild>,
}

enum State {
    /// None is wanted, or none can be.
    None,
    /// There is none before this time.
    Resting(Instant),
    /// It sets its engine up.
    Warming(Running),
    /// It makes copies.
    Ready(Running),
}

struct Running {
    child: Arc<Child>,
    link: AsyncFd<Link>,
    began: Instant,
    /// Whether guests wait for its engine: not where one before it kept them waiting in vain.
    awaited: bool,
    /// Of which build its engine is, where that may change.
    build: Option<String>,
    /// Reaps it, whenever it ends.
    end: JoinHandle<()>,
}

impl Zygote {
    /// The zygote of a server with this order; none for a server of one pod, whose
    /// few guests would not make up for it.
    pub(super) fn of(order: &Order, executor: &Path, build: Arc<EngineBuild>) -> Self {
        let state = match order.mode {
            ServerMode::PerPod => State::None,
            ServerMode::PerNode => State::begin(order, executor, build.of_plugin(), true),
        };
        Zygote {
            state: Mutex::new(state),
            build,
        }
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
        let mut state = self.state.lock().await;
        let begin = |awaited| {
            let build = self.build.of_plugin();
            State::begin(order, spawn.executor, build, awaited)
        };
        match &*state {
            State::Resting(until) if *until <= Instant::now() => *state = begin(false),
            // What it would have of a plugin is not what code is made by now.
            State::Warming(running) | State::Ready(running)
                if running.build != self.build.of_plugin() =>
            {
                std::mem::replace(&mut *state, begin(true)).give_up();
            }
            _ => {}
        }
        state.warm(log).await;
        // If this call is dropped while it waits, so is the zygote: its answer would be taken for
        // another's.
        let running = match std::mem::replace(&mut *state, State::None) {
            State::Ready(running) => running,
            other => {
                *state = other;
                return Ok(spawn.spawn()?);
            }
        };
        let error = match running.copy(spawn, role).await {
            Ok(child) => {
                *state = State::Ready(running);
                return Ok(child);
            }
            Err(ForkError::Refused(error)) => {
                *state = State::Ready(running);
                return Err(error.into());
            }
            Err(error) => error,
        };
        log.warn(&format!("the zygote is started anew: {error}"));
        *state = begin(true);
        drop(state);
        running.give_up();
        match error {
            ForkError::Gone(_) => Ok(spawn.spawn()?),
            // A copy of it may be there, and would take part in all that is said to another.
            error => Err(ServiceError::Setup(format!(
                "handler \"{}\", engine {}: {error}; start the container again",
                order.engine.handler, order.engine.engine
            ))),
        }
    }

    /// Ends it.
    pub(super) async fn end(&self) {
        let state = std::mem::replace(&mut *self.state.lock().await, State::None);
        if let State::Warming(running) | State::Ready(running) = state {
            kill_now(running.child.pidfd.as_fd());
            let _ = running.end.await;
        }
    }
}

impl State {
    /// A new zygote. Where there is no process to be had for it, guests are told so by their own.
    fn begin(order: &Order, executor: &Path, build: Option<String>, awaited: bool) -> Self {
        let started = start(order, executor);
        started.map_or(State::rest(), |running| {
            State::Warming(Running {
                awaited,
                build,
                ..running
            })
        })
    }

    /// Ends the zygote that there is.
    fn give_up(self) {
        if let State::Warming(running) | State::Ready(running) = self {
            running.give_up();
        }
    }

    fn rest() -> Self {
        State::Resting(Instant::now() + REST)
    }

    /// Waits until a new one has its engine, or until it is certain that it will not: to set
    /// up another for one guest would take as long. One that is not awaited is only looked at.
    async fn warm(&mut self, log: &TaskLog) {
        let running = match std::mem::replace(self, State::None) {
            State::Warming(running) => running,
            other => {
                *self = other;
                return;
            }
        };
        let left = match running.awaited {
            true => PATIENCE.saturating_sub(running.began.elapsed()),
            false => Duration::ZERO,
        };
        let said = timeout(left, receive::<FromZygote>(&running.link)).await;
        let why = match said {
            Err(_) if running.began.elapsed() < PATIENCE => {
                *self = State::Warming(running);
                return;
            }
            Ok(Ok(Some((FromZygote::Ready, _)))) => {
                *self = State::Ready(running);
                return;
            }
            // Another would say the same.
            Ok(Ok(Some((FromZygote::Failed { message }, _)))) => message,
            other => {
                *self = State::rest();
                match other {
                    Ok(Ok(Some((word, _)))) => format!("an unexpected word: {word:?}"),
                    Ok(Ok(None)) => "it has ended".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("its engine is not there after {PATIENCE:?}"),
                }
            }
        };
        log.warn(&format!("guests are spawned, as there is no zygote: {why}"));
        running.give_up();
    }
}

impl Running {
    async fn copy(&self, spawn: &Spawn<'_>, role: Role) -> Result<Child, ForkError> {
        spawn.ask(self.link.get_ref(), role)?;
        let answer = timeout(PATIENCE, receive(&self.link)).await;
        zygote::copy_of(answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
    }

    /// Ends a zygote that is of no use, with the copy that it may have made too late.
    fn give_up(self) {
        kill_now(self.child.pidfd.as_fd());
        tokio::spawn(async move {
            let _ = self.end.await;
            if let Ok(copy) = zygote::copy_of(self.link.get_ref().receive()) {
                let _ = reap(&copy).await;
            }
        });
    }
}

fn start(order: &Order, executor: &Path) -> io::Result<Running> {
    let choice = memory_file::sealed_json("engine", &order.engine)?;
    let (here, there) = ready::link()?;
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
    let child = Arc::new(child);
    let reaped = child.clone();
    let end = tokio::spawn(async move {
        let _ = ended(&reaped).await;
    });
    Ok(Running {
        child,
        link: here,
        began: Instant::now(),
        awaited: true,
        build: None,
        end,
    })
}
