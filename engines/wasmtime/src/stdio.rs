//! The guest's stdin, stdout and stderr: descriptors 0, 1 and 2 themselves.
//!
//! `wasmtime-wasi` reads stdin in a thread and writes through the standard
//! library's buffers. Here every read and write is one system call of the
//! guest's own thread, nothing is held back, and a full pipe holds the guest up
//! as it would a native program. The descriptors' flags are left alone: they
//! are shared with whoever else holds the same pipe or terminal.

use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use trireme_engine::Preview;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// The most that one read or write of a guest moves, in bytes.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Standard input.
pub(crate) struct Input;

impl Input {
    fn fd(&self) -> BorrowedFd<'static> {
        rustix::stdio::stdin()
    }

    /// Resolves when a read would not block.
    async fn readable(&self) -> io::Result<()> {
        if ready(self.fd(), PollFlags::IN, Some(&Timespec::default()))? {
            return Ok(());
        }
        // epoll knows no regular files, but these never come here.
        // SAFETY: descriptor 0 stays open for as long as the process lives.
        let watched = unsafe { AsyncFd::register_with_interest(self.fd(), Interest::READABLE) }
            .map_err(io::Error::from)?;
        loop {
            let mut guard = watched.readable().await?;
            if ready(self.fd(), PollFlags::IN, Some(&Timespec::default()))? {
                return Ok(());
            }
            guard.clear_ready();
        }
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        rustix::termios::isatty(self.fd())
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(Input)
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Input)
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        // A guest that polls an stdin that is always ready must not keep the
        // event loop from its sockets.
        tokio::task::consume_budget().await;
        // What is wrong with stdin the read that follows will tell.
        let _ = self.readable().await;
    }
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0
            || !ready(self.fd(), PollFlags::IN, Some(&Timespec::default())).map_err(failed)?
        {
            return Ok(Bytes::new());
        }
        let mut buffer = BytesMut::zeroed(size.min(CHUNK));
        match retry_on_intr(|| rustix::io::read(self.fd(), &mut buffer[..])) {
            Ok(0) => Err(StreamError::Closed),
            Ok(n) => {
                buffer.truncate(n);
                Ok(buffer.freeze())
            }
            Err(Errno::AGAIN) => Ok(Bytes::new()),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// The interface for WASI 0.3, which `wasmtime-wasi` asks every stream for.
impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = retry_on_intr(|| rustix::io::read(self.fd(), buffer.initialize_unfilled()));
        Poll::Ready(read.map(|n| buffer.advance(n)).map_err(io::Error::from))
    }
}

/// Standard output or error.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    fd: BorrowedFd<'static>,
    level: Preview,
}

impl Output {
    pub(crate) fn stdout(level: Preview) -> Self {
        Output {
            fd: rustix::stdio::stdout(),
            level,
        }
    }

    pub(crate) fn stderr(level: Preview) -> Self {
        Output {
            fd: rustix::stdio::stderr(),
            level,
        }
    }

    /// One write, waiting while a descriptor in non-blocking mode is full.
    fn write_some(self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match retry_on_intr(|| rustix::io::write(self.fd, bytes)) {
                Err(Errno::AGAIN) => ready(self.fd, PollFlags::OUT, None).map(drop)?,
                written => return Ok(written?),
            }
        }
    }

    fn write_all(self, mut bytes: &[u8]) -> StreamResult<()> {
        while !bytes.is_empty() {
            let written = self.write_some(bytes).map_err(|error| self.failed(error))?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// A reader that left is `EPIPE` to a WASI 0.1 guest, which
    /// `wasmtime-wasi` finds in the error, and a closed stream to a 0.2 guest.
    fn failed(self, error: io::Error) -> StreamError {
        match (self.level, error.kind()) {
            (Preview::P2, io::ErrorKind::BrokenPipe) => StreamError::Closed,
            _ => failed(error),
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        rustix::termios::isatty(self.fd)
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(*self)
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(*self)
    }
}

#[async_trait]
impl Pollable for Output {
    /// At once, but for the event loop's turn: a write may hold the guest up,
    /// which is all there is to run.
    async fn ready(&mut self) {
        tokio::task::consume_budget().await;
    }
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_all(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_all(&bytes)
    }
}

/// See [`AsyncRead`] of [`Input`].
impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_some(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether an operation on `fd` would not block, an end of file and an error
/// included. Waits for it where `timeout` is `None`.
fn ready(fd: BorrowedFd<'_>, events: PollFlags, timeout: Option<&Timespec>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    Ok(retry_on_intr(|| poll(&mut fds, timeout))? > 0)
}

fn failed(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}
