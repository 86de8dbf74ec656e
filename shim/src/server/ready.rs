//! Waiting for descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use trireme_container::cgroup::MemoryNews;
use trireme_container::link::Link;

/// A descriptor that can be waited for.
///
/// # Errors
///
/// When the kernel cannot wait for it, as for an ordinary file.
pub(super) fn of<T: AsFd + AsRawFd + Owner>(owner: T) -> io::Result<AsyncFd<T>> {
    to(owner, Interest::READABLE.add(Interest::WRITABLE))
}

/// The same, for what is of interest alone.
///
/// # Errors
///
/// As [`of`].
pub(super) fn to<T: AsFd + AsRawFd + Owner>(
    owner: T,
    interest: Interest,
) -> io::Result<AsyncFd<T>> {
    // SAFETY: the types that are owners give the same open descriptor as long
    // as they live, and the value moves into the result.
    Ok(unsafe { AsyncFd::register_with_interest(owner, interest) }?)
}

/// A new link: the server's end, which can be waited for, and that of a process to
/// spawn.
///
/// # Errors
///
/// When the kernel has no socket to give.
pub(super) fn link() -> io::Result<(AsyncFd<Link>, Link)> {
    let (here, there) = Link::pair()?;
    here.set_nonblocking()?;
    Ok((of(here)?, there))
}

/// Types that keep one descriptor open, always the same.
pub(super) trait Owner {}

impl Owner for std::os::fd::OwnedFd {}
impl Owner for std::fs::File {}
impl Owner for std::os::fd::BorrowedFd<'_> {}
impl Owner for Link {}
impl Owner for MemoryNews {}
