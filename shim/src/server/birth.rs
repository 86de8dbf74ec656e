//! What is executed in a container: a process outside its pid namespace, which goes on in a copy of
//! itself that is born there.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use tokio::io::unix::AsyncFd;
use trireme_container::link::{Link, Word};
use trireme_container::process::Child;

use super::container::Container;
use super::process::{ended, reap, receive};

/// A process of a container's that may go on in a copy. Both are in the container's state on disk while
/// they live.
pub(super) struct Beginner<'a> {
    container: &'a Container,
    first: Child,
    copy: OnceLock<Child>,
}

impl<'a> Beginner<'a> {
    /// A process that has just been made.
    pub fn new(container: &'a Container, first: Child) -> Self {
        Beginner {
            container,
            first,
            copy: OnceLock::new(),
        }
    }

    /// What it goes on in.
    pub fn process(&self) -> &Child {
        self.copy.get().unwrap_or(&self.first)
    }

    /// Waits for what it says, and takes note of a copy that it tells of.
    ///
    /// # Errors
    ///
    /// As [`receive`]; when it tells of a second copy; and when a copy cannot be written down.
    pub async fn hear<T: Word>(
        &self,
        link: &AsyncFd<Link>,
    ) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        loop {
            let heard = receive::<T>(link).await?;
            let Some((word, fd)) = heard else {
                return Ok(None);
            };
            match (word.born(), fd) {
                (None, fd) => return Ok(Some((word, fd))),
                (Some(pid), Some(pidfd)) if self.copy.get().is_none() => {
                    let _ = self.copy.set(Child::new(pid, pidfd));
                    self.container.remember(pid).map_err(io::Error::other)?;
                }
                (Some(_), _) => {
                    return Err(io::Error::other("its process cannot be born there again"));
                }
            }
        }
    }

    /// What it goes on in; what that is a copy of ends by itself.
    pub fn settle(self) -> Child {
        let Beginner {
            container,
            first,
            copy,
        } = self;
        let Some(copy) = copy.into_inner() else {
            return first;
        };
        container.forget(first.pid.unsigned_abs());
        tokio::spawn(async move {
            let _ = ended(&first).await;
        });
        copy
    }

    /// Ends and reaps it: what it has ended with.
    ///
    /// # Errors
    ///
    /// When it is no child of this process.
    pub async fn end(self) -> io::Result<u32> {
        let container = self.container;
        let child = self.settle();
        let status = reap(&child).await;
        container.forget(child.pid.unsigned_abs());
        status
    }
}
