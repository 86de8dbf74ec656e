//! The guest's stdin, stdout and stderr: descriptors 0, 1 and 2 themselves.
//!
//! Every read and write is one system call of the guest's own thread, nothing
//! is held back, and a full pipe holds the guest up as it would a native
//! program. The descriptors' flags are left alone: they are shared with whoever
//! else holds the same pipe or terminal.

use std::io::{self, SeekFrom};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread, retry_on_intr};
use virtual_fs::{AsyncRead, AsyncSeek, AsyncWrite, FsError, ReadBuf, VirtualFile};

use crate::wait::Waits;

/// What a guest that asks is told that it can write without waiting, in bytes:
/// the atomic size of a pipe.
const ROOM: usize = 4096;

/// One of the three.
#[derive(Debug)]
pub(crate) struct Stream {
    fd: BorrowedFd<'static>,
    waits: Arc<Waits>,
}

impl Stream {
    pub(crate) fn stdin(waits: &Arc<Waits>) -> Box<Self> {
        Self::of(rustix::stdio::stdin(), waits)
    }

    pub(crate) fn stdout(waits: &Arc<Waits>) -> Box<Self> {
        Self::of(rustix::stdio::stdout(), waits)
    }

    pub(crate) fn stderr(waits: &Arc<Waits>) -> Box<Self> {
        Self::of(rustix::stdio::stderr(), waits)
    }

    fn of(fd: BorrowedFd<'static>, waits: &Arc<Waits>) -> Box<Self> {
        Box::new(Stream {
            fd,
            waits: Arc::clone(waits),
        })
    }

    /// Whether an operation would not block, an end of file and an error
    /// included. Waits for it where `timeout` is `None`.
    fn ready(&self, events: PollFlags, timeout: Option<&Timespec>) -> io::Result<bool> {
        let mut fds = [PollFd::from_borrowed_fd(self.fd, events)];
        Ok(retry_on_intr(|| poll(&mut fds, timeout))? > 0)
    }

    /// `operation`, again once a descriptor in non-blocking mode is ready.
    fn blocking(
        &self,
        events: PollFlags,
        mut operation: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> io::Result<usize> {
        loop {
            match retry_on_intr(|| operation(self.fd)) {
                Err(Errno::AGAIN) => drop(self.ready(events, None)?),
                done => return Ok(done?),
            }
        }
    }

    fn poll_ready(&self, events: PollFlags, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.ready(events, Some(&Timespec::default())) {
            Ok(false) => {
                self.waits.stream(self.fd, events, cx);
                Poll::Pending
            }
            ready => Poll::Ready(ready.map(drop)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = buffer.initialize_unfilled();
        let read = self.blocking(PollFlags::IN, |fd| rustix::io::read(fd, &mut *bytes));
        Poll::Ready(read.map(|n| buffer.advance(n)))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.blocking(PollFlags::OUT, |fd| rustix::io::write(fd, bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Stream {
    fn start_seek(self: Pin<&mut Self>, _: SeekFrom) -> io::Result<()> {
        Err(Errno::SPIPE.into())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(0))
    }
}

impl VirtualFile for Stream {
    fn last_accessed(&self) -> u64 {
        0
    }

    fn last_modified(&self) -> u64 {
        0
    }

    fn created_time(&self) -> u64 {
        0
    }

    fn size(&self) -> u64 {
        0
    }

    fn set_len(&mut self, _: u64) -> Result<(), FsError> {
        Err(FsError::InvalidInput)
    }

    fn unlink(&mut self) -> Result<(), FsError> {
        Err(FsError::PermissionDenied)
    }

    /// `wasmer-wasix` takes nothing to be read for the end of the stream.
    fn poll_read_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_ready(PollFlags::IN, cx)
            .map_ok(|()| ioctl_fionread(self.fd).map_or(1, |n| n.try_into().unwrap_or(usize::MAX)))
    }

    fn poll_write_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_ready(PollFlags::OUT, cx).map_ok(|()| ROOM)
    }
}
