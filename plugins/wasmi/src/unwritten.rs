//! Files that were opened to be read.

use std::any::Any;
use std::io::{IoSliceMut, SeekFrom};

use async_trait::async_trait;
use trireme_engine::Rights;
use wasmi_wasi::wasi_common::file::{Advice, FdFlags, FileType, Filestat, WasiFile};
use wasmi_wasi::wasi_common::snapshots::preview_1::types::Errno;
use wasmi_wasi::wasi_common::sync::file::File;
use wasmi_wasi::wasi_common::{Error, SystemTimeSpec};

use crate::folder::told;

/// A file without anything that writes to it. The kernel would let its owner set its times; that
/// takes the right to write to its directory.
pub(crate) struct Unwritten {
    file: File,
    rights: Rights,
}

impl Unwritten {
    pub(crate) fn new(file: File, rights: Rights) -> Self {
        Self { file, rights }
    }
}

#[async_trait]
impl WasiFile for Unwritten {
    fn as_any(&self) -> &dyn Any {
        self.file.as_any()
    }

    fn pollable(&self) -> Option<rustix::fd::BorrowedFd<'_>> {
        self.file.pollable()
    }

    fn isatty(&self) -> bool {
        self.file.isatty()
    }

    async fn get_filetype(&self) -> Result<FileType, Error> {
        self.file.get_filetype().await.map_err(told)
    }

    async fn datasync(&self) -> Result<(), Error> {
        self.file.datasync().await.map_err(told)
    }

    async fn sync(&self) -> Result<(), Error> {
        self.file.sync().await.map_err(told)
    }

    async fn get_fdflags(&self) -> Result<FdFlags, Error> {
        self.file.get_fdflags().await.map_err(told)
    }

    async fn set_fdflags(&mut self, flags: FdFlags) -> Result<(), Error> {
        self.file.set_fdflags(flags).await.map_err(told)
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.file.get_filestat().await.map_err(told)
    }

    async fn set_filestat_size(&self, size: u64) -> Result<(), Error> {
        self.file.set_filestat_size(size).await.map_err(told)
    }

    async fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Error> {
        self.file.advise(offset, len, advice).await.map_err(told)
    }

    async fn set_times(
        &self,
        atime: Option<SystemTimeSpec>,
        mtime: Option<SystemTimeSpec>,
    ) -> Result<(), Error> {
        match self.rights {
            Rights::ReadWrite => self.file.set_times(atime, mtime).await.map_err(told),
            Rights::ReadOnly => Err(Errno::Rofs.into()),
        }
    }

    async fn read_vectored<'a>(&self, bufs: &mut [IoSliceMut<'a>]) -> Result<u64, Error> {
        self.file.read_vectored(bufs).await.map_err(told)
    }

    async fn read_vectored_at<'a>(
        &self,
        bufs: &mut [IoSliceMut<'a>],
        offset: u64,
    ) -> Result<u64, Error> {
        self.file.read_vectored_at(bufs, offset).await.map_err(told)
    }

    async fn seek(&self, to: SeekFrom) -> Result<u64, Error> {
        self.file.seek(to).await.map_err(told)
    }

    async fn peek(&self, buf: &mut [u8]) -> Result<u64, Error> {
        self.file.peek(buf).await.map_err(told)
    }

    fn num_ready_bytes(&self) -> Result<u64, Error> {
        self.file.num_ready_bytes().map_err(told)
    }

    async fn readable(&self) -> Result<(), Error> {
        self.file.readable().await.map_err(told)
    }
}
