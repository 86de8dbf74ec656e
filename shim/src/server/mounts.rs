//! The mounts of a container, and their end.
//!
//! The last process of a mount namespace unmounts all that is in it, and an overlay
//! writes its upper file system out then, other programs' data included: on a busy disk
//! a guest of a millisecond takes ten to end. So the server holds the namespace and lets
//! it go on a thread of its own once the end of the container has been seen; whoever
//! deletes it waits for that, since its root file system may be mounted anew or removed.
//! A process that this server is spawning has the descriptor too, until it executes its
//! program a moment later.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use tokio::task::JoinHandle;

use super::aside::aside;
use super::log::TaskLog;
use super::process::lock;

/// The mounts of a container from its creation to its end.
pub(super) struct Mounts(Mutex<State>);

enum State {
    /// Its namespace is held, unless the kernel has refused it.
    Held(Option<OwnedFd>),
    /// They are being unmounted, or somebody waits for that.
    Going(Option<JoinHandle<()>>),
}

impl Mounts {
    /// Those that a child of this process has in a namespace of its own.
    pub(super) fn of(pid: i32, log: &TaskLog) -> Self {
        let path = format!("/proc/{pid}/ns/mnt");
        let namespace = File::open(&path)
            .inspect_err(|error| log.debug(&format!("{path}: {error}; its end unmounts")))
            .ok();
        Mounts(Mutex::new(State::Held(namespace.map(OwnedFd::from))))
    }

    /// Begins to unmount. Returns at once.
    pub(super) fn let_go(&self) {
        let mut state = lock(&self.0);
        if let State::Held(namespace) = &mut *state {
            let going = namespace
                .take()
                .map(|namespace| tokio::spawn(aside(move || drop(namespace))));
            *state = State::Going(going);
        }
    }

    /// Returns when all are unmounted.
    pub(super) async fn gone(&self) {
        self.let_go();
        let going = match &mut *lock(&self.0) {
            State::Going(going) => going.take(),
            State::Held(_) => None,
        };
        if let Some(going) = going {
            let _ = going.await;
        }
    }
}
