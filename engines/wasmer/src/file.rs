//! An open file of the guest's.

use std::fs::File;
use std::io::{self, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT, fstat, futimens};
use rustix::io::{Errno, retry_on_intr};
use virtual_fs::{AsyncRead, AsyncSeek, AsyncWrite, FsError, ReadBuf, Result, VirtualFile};

use crate::files::{Tree, failed, nanoseconds};

/// A file of the host.
///
/// `wasmer-wasix` shares it among a guest's descriptors, keeps the offset of
/// each, and seeks before every read and write. So a seek is no system call.
#[derive(Debug)]
pub(crate) struct HostFile {
    file: File,
    at: u64,
    /// Where it was opened; see [`VirtualFile::unlink`].
    tree: Tree,
    path: PathBuf,
}

impl HostFile {
    pub(crate) fn new(file: File, tree: Tree, path: PathBuf) -> Self {
        HostFile {
            file,
            at: 0,
            tree,
            path,
        }
    }

    fn stat(&self) -> Option<Stat> {
        fstat(&self.file).ok()
    }

    /// `positioned`, or `plain` for a file that has no offset, such as a pipe.
    fn move_bytes(
        &mut self,
        mut positioned: impl FnMut(&File, u64) -> io::Result<usize>,
        mut plain: impl FnMut(&File) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        let moved = loop {
            match positioned(&self.file, self.at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::SPIPE.raw_os_error()) => {
                    break retry_on_intr(|| plain(&self.file))?;
                }
                moved => break moved?,
            }
        };
        self.at += moved as u64;
        Ok(moved)
    }
}

impl AsyncRead for HostFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = std::cell::RefCell::new(buffer.initialize_unfilled());
        let read = self.move_bytes(
            |file, at| file.read_at(&mut bytes.borrow_mut(), at),
            |file| rustix::io::read(file, &mut **bytes.borrow_mut()),
        );
        Poll::Ready(read.map(|n| buffer.advance(n)))
    }
}

impl AsyncWrite for HostFile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.move_bytes(
            |file, at| file.write_at(bytes, at),
            |file| rustix::io::write(file, bytes),
        ))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for HostFile {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let (base, offset) = match to {
            SeekFrom::Start(at) => {
                self.at = at;
                return Ok(());
            }
            SeekFrom::Current(offset) => (self.at, offset),
            SeekFrom::End(offset) => (self.size(), offset),
        };
        self.at = base
            .checked_add_signed(offset)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.at))
    }
}

impl VirtualFile for HostFile {
    fn last_accessed(&self) -> u64 {
        self.stat()
            .map_or(0, |stat| nanoseconds(stat.st_atime, stat.st_atime_nsec))
    }

    fn last_modified(&self) -> u64 {
        self.stat()
            .map_or(0, |stat| nanoseconds(stat.st_mtime, stat.st_mtime_nsec))
    }

    /// What `wasmer-wasix` hands on as the time of the last change.
    fn created_time(&self) -> u64 {
        self.stat()
            .map_or(0, |stat| nanoseconds(stat.st_ctime, stat.st_ctime_nsec))
    }

    fn set_times(&mut self, accessed: Option<u64>, modified: Option<u64>) -> Result<()> {
        let time = |nanoseconds: Option<u64>| match nanoseconds {
            Some(n) => Timespec {
                tv_sec: i64::try_from(n / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: (n % 1_000_000_000) as _,
            },
            None => Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT as _,
            },
        };
        let times = Timestamps {
            last_access: time(accessed),
            last_modification: time(modified),
        };
        futimens(&self.file, &times).map_err(failed)
    }

    fn size(&self) -> u64 {
        self.stat()
            .map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn set_len(&mut self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(FsError::from)
    }

    /// `wasmer-wasix` removes an open file through the file itself, also one
    /// that got another name since (`path_unlink_file`). That one is not found
    /// here; the file that has its old name by now is let be.
    fn unlink(&mut self) -> Result<()> {
        self.tree.remove_if_same(&self.path, &self.file)
    }

    fn poll_read_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = self.size().saturating_sub(self.at);
        Poll::Ready(Ok(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    fn poll_write_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(4096))
    }
}
