//! A process of a container: its init, or one that is executed beside it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use trireme_container::link::{Link, ToInit};
use trireme_container::process::{Child, kill_now};
use trireme_container::{crash, stdio};
use trireme_core::lifecycle::{Exit, Request, State};
use trireme_core::plan::TerminalSize;

use super::error::ServiceError;
use super::log::TaskLog;
use super::logger::Logger;
use super::ready;
use super::streams::{ServerStreams, StreamNames};
use super::terminal::Terminal;

/// How long a client may take to open and read the outputs of a process that
/// has ended.
const LATE_READER: Duration = Duration::from_millis(500);
/// How long a client that comes back may take to put a process into its books, from the moment that
/// it has begun to wait for the end.
const COMING_BACK: Duration = Duration::from_secs(1);
/// How long after a process's start a client that has started it may begin to wait: it does both at
/// the same time.
const STARTING: Duration = Duration::from_millis(200);
/// The pause between two looks at a FIFO.
const PAUSE: Duration = Duration::from_millis(1);
/// The pause between two looks at a child of whose end the kernel does not tell.
const LOOK: Duration = Duration::from_millis(10);

/// A process from its promise to its end.
pub struct Process {
    /// Its streams.
    pub streams: StreamNames,
    state: watch::Sender<State>,
    body: OnceLock<Body>,
    /// When a client was told that it was let run.
    started: Mutex<Option<Instant>>,
    /// How it has ended, from the moment that it was reaped.
    reaped: OnceLock<Exit>,
    /// What clients know of its end.
    known: watch::Sender<Known>,
}

/// What clients know of a process's end.
#[derive(Default)]
struct Known {
    is_told: bool,
    /// When one last asked for it.
    asked: Option<Instant>,
}

/// What there is of a process once it has been spawned.
struct Body {
    child: Child,
    link: Mutex<Option<Link>>,
    hold: Mutex<Option<OwnedFd>>,
    outputs: Mutex<Vec<OwnedFd>>,
    terminal: Option<Terminal>,
    logger: Option<Logger>,
}

impl Process {
    /// A process that has not been spawned.
    pub fn new(streams: StreamNames) -> Self {
        Process {
            streams,
            state: watch::Sender::new(State::Created),
            body: OnceLock::new(),
            started: Mutex::default(),
            reaped: OnceLock::new(),
            known: watch::Sender::default(),
        }
    }

    /// Gives it the child that waits to be let run. Only the first counts.
    pub fn spawned(&self, child: Child, link: Link, streams: ServerStreams) {
        let body = Body {
            child,
            link: Mutex::new(Some(link)),
            hold: Mutex::new(streams.hold),
            outputs: Mutex::new(streams.outputs),
            terminal: streams.terminal,
            logger: streams.logger,
        };
        let _ = self.body.set(body);
    }

    /// Its pid in the server's pid namespace, or 0 before there is one.
    pub fn pid(&self) -> u32 {
        self.body
            .get()
            .map_or(0, |body| body.child.pid.unsigned_abs())
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// The same for one who asks: a process that was reaped is stopped, also while its end is not
    /// told since its output is still to be read. containerd takes a task that runs when it comes up
    /// for one whose end is to come, and 1.6 loses an end that comes at that very moment.
    pub fn state_now(&self) -> State {
        let state = self.state();
        self.reaped.get().map_or(state, |exit| state.ended(*exit))
    }

    /// Takes note of a request that was carried out.
    pub fn has_done(&self, request: Request) {
        self.state
            .send_modify(|state| *state = state.after(request));
    }

    /// Takes note of its end, and tells everybody who waits.
    pub fn has_ended(&self, exit: Exit) {
        self.state.send_modify(|state| *state = state.ended(exit));
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Exit {
        let mut state = self.state.subscribe();
        loop {
            if let Some(exit) = state.borrow_and_update().exit() {
                return exit;
            }
            // The sender lives as long as this process.
            let _ = state.changed().await;
        }
    }

    /// The same for a client.
    ///
    /// One that begins to wait for a process that has run for a while is coming back, and is not
    /// answered at once: the CRI part of containerd 1.7 forgets an end that comes between its wait and
    /// the moment when the container is in its store, and takes it for running ever after
    /// (`loadContainer`, `recover` and `startContainerExitMonitor` in `pkg/cri/server`). One that waits
    /// in order to end it is.
    pub async fn wait_as_client(&self) -> Exit {
        let came = Instant::now();
        let started = *lock(&self.started);
        let has_run = started.is_some_and(|started| came > started + STARTING);
        let exit = self.wait().await;
        if has_run {
            let mut known = self.known.subscribe();
            let is_known = |known: &Known| {
                let is_asked = |asked: Instant| asked + STARTING > came;
                known.is_told || known.asked.is_some_and(is_asked)
            };
            tokio::select! {
                () = tokio::time::sleep_until((came + COMING_BACK).into()) => {}
                // The sender lives as long as this process.
                _ = known.wait_for(is_known) => {}
            }
        }
        self.known.send_modify(|known| known.is_told = true);
        exit
    }

    /// Takes note that a client is told of its start.
    pub fn has_started(&self) {
        *lock(&self.started) = Some(Instant::now());
    }

    /// Takes note that a client asks for its end.
    pub fn is_to_end(&self) {
        let now = Instant::now();
        self.known.send_modify(|known| known.asked = Some(now));
    }

    /// Lets it run. Its link comes along, on which nothing else is said to it.
    pub fn start(&self) -> Result<Link, ServiceError> {
        let link = self.body.get().and_then(|body| lock(&body.link).take());
        let told = link.filter(|link| link.send(&ToInit::Start, None).is_ok());
        let link =
            told.ok_or_else(|| ServiceError::Setup("the container's process is gone".to_owned()))?;
        self.has_started();
        self.has_done(Request::Start);
        Ok(link)
    }

    /// Sends a signal, given by its number.
    pub fn kill(&self, signal: i32) -> Result<(), ServiceError> {
        self.is_to_end();
        self.state().allows(Request::Kill)?;
        let body = self
            .body
            .get()
            .ok_or_else(|| ServiceError::Precondition("process not created".into()))?;
        body.child
            .kill(signal)
            .map_err(|error| ServiceError::InvalidArgument(format!("signal {signal}: {error}")))
    }

    /// A descriptor of the process.
    pub fn open(&self) -> Result<OwnedFd, ServiceError> {
        let gone = || ServiceError::Setup("the container's init process is gone".into());
        let body = self.body.get().ok_or_else(gone)?;
        body.child.pidfd.try_clone().map_err(|_| gone())
    }

    /// Whether it was spawned and has not been seen to its end.
    pub fn is_alive(&self) -> bool {
        self.body.get().is_some() && self.state().exit().is_none()
    }

    /// Ends it whatever its state; its end is reported on its own.
    pub fn kill_now(&self) {
        self.is_to_end();
        if let Some(body) = self.body.get() {
            kill_now(body.child.pidfd.as_fd());
        }
    }

    /// Ends and reaps it, if there is one that nobody sees to its end, and lets go of its streams;
    /// returns its pid.
    pub async fn reap(&self, log: &TaskLog) -> Option<u32> {
        let body = self.body.get()?;
        if let Err(error) = reap(&body.child).await {
            log.warn(&format!("cannot wait for {}: {error}", self.pid()));
        }
        lock(&body.outputs).clear();
        lock(&body.hold).take();
        Some(self.pid())
    }

    /// Lets standard input end.
    pub fn close_stdin(&self) {
        if let Some(body) = self.body.get() {
            lock(&body.hold).take();
        }
    }

    /// Resizes its terminal, if it has one.
    pub fn resize(&self, size: TerminalSize) -> Result<(), ServiceError> {
        match self.body.get().and_then(|body| body.terminal.as_ref()) {
            Some(terminal) => Ok(stdio::resize(terminal.master(), size)?),
            None => Ok(()),
        }
    }

    /// Waits until the output of its terminal has been moved, and a logging binary
    /// has taken it all.
    pub async fn output_moved(&self) {
        let Some(body) = self.body.get() else {
            return;
        };
        if let Some(terminal) = &body.terminal {
            terminal.finished().await;
        }
        if let Some(logger) = &body.logger {
            logger.finish().await;
        }
    }

    /// The pid of the logging binary that takes its output.
    pub fn logger(&self) -> Option<i32> {
        let logger = self.body.get()?.logger.as_ref();
        logger.map(Logger::pid)
    }

    /// Sees it to its end: reaps it and has its output read. Nobody is told. The server's ends
    /// of its streams come along, but for a terminal's: to close them wakes readers up, which can
    /// wait until the end is told.
    pub async fn end(&self, log: &TaskLog) -> (Exit, Vec<OwnedFd>) {
        let status = match self.body.get() {
            Some(body) => ended(&body.child).await.unwrap_or_else(|error| {
                log.warn(&format!("cannot wait for {}: {error}", self.pid()));
                crate::delete::LOST
            }),
            None => crate::delete::LOST,
        };
        let exit = Exit {
            status,
            at: SystemTime::now(),
        };
        let _ = self.reaped.set(exit);
        crash::step("after_exit");
        let mut streams = Vec::new();
        if let Some(body) = self.body.get() {
            if let Some(terminal) = &body.terminal {
                terminal.drain().await;
            }
            // A helper that waits to let it run waits for nothing.
            lock(&body.link).take();
            streams = std::mem::take(&mut *lock(&body.outputs));
            are_read(&streams).await;
            streams.extend(lock(&body.hold).take());
        }
        (exit, streams)
    }
}

/// Waits until a client has opened the other end of what a guest has written to, and read
/// it. One that is not there any more is not waited for long: the end of the output is part
/// of the process's end.
async fn are_read(outputs: &[OwnedFd]) {
    let read = async {
        while !outputs.iter().all(|fifo| stdio::is_drained(fifo.as_fd())) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let _ = tokio::time::timeout(LATE_READER, read).await;
}

/// Waits for the end of a child and reaps it.
pub(super) async fn ended(child: &Child) -> io::Result<u32> {
    let Ok(pidfd) = ready::of(child.pidfd.as_fd()) else {
        // The kernel had nothing left to tell of its end by; it is no less alive for that.
        loop {
            match child.try_wait()? {
                Some(status) => return Ok(status),
                None => tokio::time::sleep(LOOK).await,
            }
        }
    };
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
