//! Directories with rights, for wasi-common, which knows none.

use std::any::Any;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use trireme_engine::{Directory, Rights};
use wasmi_wasi::Dir;
use wasmi_wasi::wasi_common::dir::{OpenResult, ReaddirCursor, ReaddirEntity, WasiDir};
use wasmi_wasi::wasi_common::file::{FdFlags, Filestat, OFlags};
use wasmi_wasi::wasi_common::snapshots::preview_1::types::Errno;
use wasmi_wasi::wasi_common::sync::dir;
use wasmi_wasi::wasi_common::{Error, SystemTimeSpec};

use crate::unwritten::Unwritten;

/// A directory of the guest, or one below it.
pub(crate) struct Folder {
    dir: dir::Dir,
    rights: Rights,
}

impl Folder {
    pub(crate) fn new(directory: Directory) -> Self {
        Self {
            dir: dir::Dir::from_cap_std(Dir::from_std_file(directory.dir)),
            rights: directory.rights,
        }
    }

    fn may_write(&self) -> Result<(), Error> {
        match self.rights {
            Rights::ReadWrite => Ok(()),
            Rights::ReadOnly => Err(Errno::Rofs.into()),
        }
    }

    /// The other directory of a call that takes two, if that may be written too.
    fn other(folder: &dyn WasiDir) -> Result<&Self, Error> {
        let folder = folder.as_any().downcast_ref::<Self>();
        let folder = folder.ok_or(Error::from(Errno::Badf))?;
        folder.may_write().map(|()| folder)
    }
}

/// Tells the guest of an error of the system that wasi-common does not know, and would end the
/// guest for.
pub(crate) fn told(error: Error) -> Error {
    let error = match error.downcast() {
        Ok(known) => return known.into(),
        Err(error) => error,
    };
    let code = error.downcast_ref::<io::Error>().map(io::Error::kind);
    match code {
        Some(io::ErrorKind::ReadOnlyFilesystem) => Errno::Rofs.into(),
        Some(io::ErrorKind::CrossesDevices) => Errno::Xdev.into(),
        Some(io::ErrorKind::ExecutableFileBusy) => Errno::Txtbsy.into(),
        Some(_) => Errno::Io.into(),
        None => Error::trap(error),
    }
}

#[async_trait]
impl WasiDir for Folder {
    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn open_file(
        &self,
        follow: bool,
        path: &str,
        oflags: OFlags,
        read: bool,
        write: bool,
        fdflags: FdFlags,
    ) -> Result<OpenResult, Error> {
        let writes = write
            || oflags.intersects(OFlags::CREATE | OFlags::TRUNCATE)
            || fdflags.contains(FdFlags::APPEND);
        if writes {
            self.may_write()?;
        }
        let opened = self
            .dir
            .open_file_(follow, path, oflags, read, write, fdflags);
        Ok(match opened.map_err(told)? {
            dir::OpenResult::File(file) if writes => OpenResult::File(Box::new(file)),
            dir::OpenResult::File(file) => {
                OpenResult::File(Box::new(Unwritten::new(file, self.rights)))
            }
            dir::OpenResult::Dir(dir) => OpenResult::Dir(Box::new(Self {
                dir,
                rights: self.rights,
            })),
        })
    }

    async fn create_dir(&self, path: &str) -> Result<(), Error> {
        self.may_write()?;
        self.dir.create_dir(path).await.map_err(told)
    }

    async fn readdir(
        &self,
        cursor: ReaddirCursor,
    ) -> Result<Box<dyn Iterator<Item = Result<ReaddirEntity, Error>> + Send>, Error> {
        self.dir.readdir(cursor).await.map_err(told)
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<(), Error> {
        self.may_write()?;
        self.dir.symlink(target, path).await.map_err(told)
    }

    async fn remove_dir(&self, path: &str) -> Result<(), Error> {
        self.may_write()?;
        self.dir.remove_dir(path).await.map_err(told)
    }

    async fn unlink_file(&self, path: &str) -> Result<(), Error> {
        self.may_write()?;
        self.dir.unlink_file(path).await.map_err(told)
    }

    async fn read_link(&self, path: &str) -> Result<PathBuf, Error> {
        self.dir.read_link(path).await.map_err(told)
    }

    async fn get_filestat(&self) -> Result<Filestat, Error> {
        self.dir.get_filestat().await.map_err(told)
    }

    async fn get_path_filestat(&self, path: &str, follow: bool) -> Result<Filestat, Error> {
        self.dir.get_path_filestat(path, follow).await.map_err(told)
    }

    async fn rename(&self, path: &str, to: &dyn WasiDir, new: &str) -> Result<(), Error> {
        self.may_write()?;
        let to = Self::other(to)?;
        self.dir.rename_(path, &to.dir, new).map_err(told)
    }

    async fn hard_link(&self, path: &str, to: &dyn WasiDir, new: &str) -> Result<(), Error> {
        // Through the new name the file could be written.
        self.may_write()?;
        let to = Self::other(to)?;
        self.dir.hard_link_(path, &to.dir, new).map_err(told)
    }

    async fn set_times(
        &self,
        path: &str,
        atime: Option<SystemTimeSpec>,
        mtime: Option<SystemTimeSpec>,
        follow: bool,
    ) -> Result<(), Error> {
        self.may_write()?;
        let set = self.dir.set_times(path, atime, mtime, follow);
        set.await.map_err(told)
    }
}
