//! The logging binary that takes a process's output, from its start to its end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::watch;
use trireme_container::logger::{Binary, Started};
use trireme_container::process::{kill, kill_now};

use super::abandon::Abandoned;
use super::create::given_up;
use super::error::ServiceError;
use super::ready;

/// How long one may take to be ready.
const START: Duration = Duration::from_secs(10);
/// How long one that has closed its descriptor without a word may take to end, if
/// that was what it did.
const LAST_BREATH: Duration = Duration::from_millis(100);
/// How long one may take to end by itself when there is nothing left to read, and
/// then when it is asked to.
const PATIENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// Whose output it takes.
pub(super) struct Whose<'a> {
    /// The id of the container, or of what is executed in it.
    pub id: &'a str,
    /// The namespace in containerd.
    pub namespace: &'a str,
    /// Whether anybody still wants it.
    pub abandoned: &'a Abandoned,
}

/// A logging binary that runs. It ends with this at the latest.
pub(super) struct Logger {
    pid: i32,
    pidfd: OwnedFd,
    /// Its status, once it has ended and been reaped.
    ended: watch::Receiver<Option<u32>>,
}

impl Drop for Logger {
    fn drop(&mut self) {
        kill_now(self.pidfd.as_fd());
    }
}

impl Logger {
    /// Starts one and waits until it is ready; it comes with the outputs.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or is not ready in time. It is ended then.
    pub async fn start(
        binary: &Binary,
        whose: &Whose<'_>,
    ) -> Result<(Self, [OwnedFd; 2]), ServiceError> {
        let Started {
            child,
            outputs,
            ready,
        } = binary.start(whose.id, whose.namespace)?;
        let failed = |why: String| {
            let path = binary.path.display();
            ServiceError::Setup(format!("the logging binary {path} {why}"))
        };
        let unusable = |error: io::Error| failed(format!("cannot be watched: {error}"));
        let pidfd = child.pidfd.try_clone().map_err(unusable)?;
        let (status, ended) = watch::channel(None);
        let logger = Logger {
            pid: child.pid,
            pidfd,
            ended,
        };
        tokio::spawn(async move {
            let seen = super::process::ended(&child).await;
            status.send_replace(Some(seen.unwrap_or(crate::delete::LOST)));
        });
        let ready = tokio::time::timeout(START, logger.is_ready(ready, binary.sends));
        match whose.abandoned.or(ready).await.ok_or_else(given_up)? {
            Ok(Ok(Ok(()))) => Ok((logger, outputs)),
            Ok(Ok(Err(why))) => Err(failed(why)),
            Ok(Err(error)) => Err(unusable(error)),
            Err(_) => Err(failed(format!("was not ready after {START:?}"))),
        }
    }

    /// Waits until it says that it is ready, or the reason why it is not.
    async fn is_ready(&self, ready: OwnedFd, sends: bool) -> io::Result<Result<(), String>> {
        rustix::io::ioctl_fionbio(&ready, true)?;
        let ready = ready::to(File::from(ready), Interest::READABLE)?;
        let said = loop {
            let mut guard = ready.readable().await?;
            match ready.get_ref().read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                other => break other?,
            }
        };
        if said > 0 {
            return Ok(Ok(()));
        }
        // An older one says no more than this, and one that has died neither.
        Ok(match self.end_within(LAST_BREATH).await {
            Some(status) => Err(format!("ended with status {status} before it was ready")),
            None if sends => Err("did not say that it is ready".into()),
            None => Ok(()),
        })
    }

    async fn end_within(&self, limit: Duration) -> Option<u32> {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some);
        let seen = tokio::time::timeout(limit, end).await.ok()?;
        seen.ok().and_then(|status| *status)
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for its end when all output has been written, and brings it about
    /// where it does not come.
    pub async fn finish(&self) {
        let [by_itself, asked] = PATIENCE;
        if self.end_within(by_itself).await.is_some() {
            return;
        }
        let _ = kill(self.pidfd.as_fd(), libc::SIGTERM);
        if self.end_within(asked).await.is_none() {
            kill_now(self.pidfd.as_fd());
            self.end_within(asked).await;
        }
    }
}
