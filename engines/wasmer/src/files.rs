//! The guest's directories as the file system that `wasmer-wasix` asks for.
//!
//! `wasmer-wasix` names everything by a path from the root of the guest, and
//! follows symbolic links by itself. Its own file system of the host resolves
//! such paths with the host's, and knows neither open directories nor rights.
//! This one finds the directory that a path lies in and has the kernel resolve
//! the rest below that descriptor, never above it (`openat2(2)`,
//! `RESOLVE_BENEATH`).

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FileType as Type, Mode, OFlags, ResolveFlags, Stat, fstat, linkat, mkdirat,
    openat2, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use trireme_engine::{Directory, Rights};
use virtual_fs::{
    DirEntry, FileOpener, FileSystem, FileType, FsError, Metadata, OpenOptions, OpenOptionsConfig,
    ReadDir, Result, VirtualFile,
};

use crate::file::HostFile;

/// How often a path is resolved anew that somebody else moves meanwhile.
const ATTEMPTS: usize = 64;

/// The directories of a guest.
#[derive(Clone, Debug)]
pub(crate) struct Tree(Arc<[Mount]>);

/// A directory at its place.
#[derive(Debug)]
struct Mount {
    name: String,
    at: PathBuf,
    dir: File,
    rights: Rights,
}

/// What a guest finds open.
pub(crate) struct Preopen {
    /// As the guest knows it.
    pub(crate) name: String,
    /// Where it is in the tree.
    pub(crate) path: PathBuf,
    pub(crate) writable: bool,
}

impl Tree {
    /// A relative name is one below the working directory.
    pub(crate) fn new(cwd: &str, directories: Vec<Directory>) -> Self {
        let mount = |directory: Directory| Mount {
            at: normal(&Path::new("/").join(cwd).join(&directory.name)),
            name: directory.name,
            dir: directory.dir,
            rights: directory.rights,
        };
        Tree(directories.into_iter().map(mount).collect())
    }

    pub(crate) fn preopens(&self) -> Vec<Preopen> {
        let preopen = |mount: &Mount| Preopen {
            name: mount.name.clone(),
            path: mount.at.clone(),
            writable: mount.rights == Rights::ReadWrite,
        };
        self.0.iter().map(preopen).collect()
    }

    /// The number of the directory that is the guest's root.
    pub(crate) fn root(&self) -> Option<usize> {
        self.0
            .iter()
            .rposition(|mount| mount.name == "/" && mount.at == Path::new("/"))
    }

    /// The innermost directory that holds `path`, of two at one place the later,
    /// and the rest of the path.
    fn locate<'a>(&self, path: &'a Path) -> Result<(&Mount, &'a Path)> {
        self.0
            .iter()
            .filter_map(|mount| Some((mount, path.strip_prefix(&mount.at).ok()?)))
            .max_by_key(|(mount, _)| mount.at.components().count())
            .ok_or(FsError::EntryNotFound)
    }

    /// As [`Tree::locate`], to change something there.
    fn locate_writable<'a>(&self, path: &'a Path) -> Result<(&Mount, &'a Path)> {
        let (mount, rest) = self.locate(path)?;
        match mount.rights {
            Rights::ReadWrite => Ok((mount, rest)),
            Rights::ReadOnly => Err(FsError::PermissionDenied),
        }
    }

    /// The names below `path` on the way to directories, where no directory
    /// holds `path` itself.
    fn way(&self, path: &Path) -> Vec<&OsStr> {
        let mut names: Vec<_> = self
            .0
            .iter()
            .filter_map(|mount| mount.at.strip_prefix(path).ok()?.iter().next())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn is_on_the_way(&self, path: &Path) -> bool {
        path == Path::new("/") || !self.way(path).is_empty()
    }

    fn stat(&self, path: &Path, last: OFlags) -> Result<Metadata> {
        match self.locate(path) {
            Ok((mount, rest)) => {
                let fd = mount.open(rest, OFlags::PATH | last, Mode::empty())?;
                Ok(metadata(&fstat(fd).map_err(failed)?))
            }
            Err(_) if self.is_on_the_way(path) => Ok(Metadata {
                ft: FileType::new_dir(),
                ..Metadata::default()
            }),
            Err(error) => Err(error),
        }
    }

    /// Removes the file at `path` if it is still the one that `file` is.
    pub(crate) fn remove_if_same(&self, path: &Path, file: &File) -> Result<()> {
        let (mount, rest) = self.locate_writable(path)?;
        let there = mount.open(rest, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let (there, open) = (fstat(there).map_err(failed)?, fstat(file).map_err(failed)?);
        if (there.st_dev, there.st_ino) != (open.st_dev, open.st_ino) {
            return Err(FsError::EntryNotFound);
        }
        self.remove_file(path)
    }
}

impl Mount {
    /// Opens what `path` leads to without leaving the directory.
    fn open(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match openat2(&self.dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened.map_err(failed),
            }
        }
        Err(FsError::WouldBlock)
    }

    /// The directory that holds the last name of `path`, and that name.
    fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(FsError::PermissionDenied)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = self.open(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok((dir, name))
    }
}

impl FileSystem for Tree {
    fn readlink(&self, path: &Path) -> Result<PathBuf> {
        let (mount, rest) = self.locate(path)?;
        let (dir, name) = mount.parent(rest)?;
        let target = readlinkat(dir, name, Vec::new()).map_err(failed)?;
        Ok(OsStr::from_bytes(target.as_bytes()).into())
    }

    fn read_dir(&self, path: &Path) -> Result<ReadDir> {
        let Ok((mount, rest)) = self.locate(path) else {
            let entry = |name: &OsStr| entry(path.join(name), Type::Directory);
            return match self.is_on_the_way(path) {
                true => Ok(ReadDir::new(
                    self.way(path).into_iter().map(entry).collect(),
                )),
                false => Err(FsError::EntryNotFound),
            };
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = mount.open(rest, flags, Mode::empty())?;
        let listing = Dir::read_from(&dir).map_err(failed)?;
        let mut entries = Vec::new();
        for found in listing {
            let found = found.map_err(failed)?;
            let name = found.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let ty = match found.file_type() {
                Type::Unknown => type_of(dir.as_fd(), name),
                ty => ty,
            };
            entries.push(entry(path.join(OsStr::from_bytes(name.to_bytes())), ty));
        }
        Ok(ReadDir::new(entries))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let (mount, rest) = self.locate_writable(path)?;
        let (dir, name) = mount.parent(rest)?;
        mkdirat(dir, name, Mode::from_raw_mode(0o777)).map_err(failed)
    }

    fn create_symlink(&self, source: &Path, target: &Path) -> Result<()> {
        let (mount, rest) = self.locate_writable(target)?;
        let (dir, name) = mount.parent(rest)?;
        symlinkat(source, dir, name).map_err(failed)
    }

    fn hard_link(&self, source: &Path, target: &Path) -> Result<()> {
        let (from, rest) = self.locate_writable(source)?;
        let (from, old) = from.parent(rest)?;
        let (to, rest) = self.locate_writable(target)?;
        let (to, new) = to.parent(rest)?;
        linkat(from, old, to, new, AtFlags::empty()).map_err(failed)
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        let (mount, rest) = self.locate_writable(path)?;
        let (dir, name) = mount.parent(rest)?;
        unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(failed)
    }

    fn rename<'a>(
        &'a self,
        from: &'a Path,
        to: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        let rename = || {
            let (mount, rest) = self.locate_writable(from)?;
            let (old_dir, old) = mount.parent(rest)?;
            let (mount, rest) = self.locate_writable(to)?;
            let (new_dir, new) = mount.parent(rest)?;
            renameat(old_dir, old, new_dir, new).map_err(failed)
        };
        Box::pin(std::future::ready(rename()))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.stat(path, OFlags::empty())
    }

    fn symlink_metadata(&self, path: &Path) -> Result<Metadata> {
        self.stat(path, OFlags::NOFOLLOW)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let (mount, rest) = self.locate_writable(path)?;
        let (dir, name) = mount.parent(rest)?;
        unlinkat(dir, name, AtFlags::empty()).map_err(failed)
    }

    fn new_open_options(&self) -> OpenOptions<'_> {
        OpenOptions::new(self)
    }
}

impl FileOpener for Tree {
    /// `append` is left to `wasmer-wasix`: several descriptors of a guest share
    /// this file, not all of which may append.
    fn open(
        &self,
        path: &Path,
        conf: &OpenOptionsConfig,
    ) -> Result<Box<dyn VirtualFile + Send + Sync + 'static>> {
        let (mount, rest) = match conf.would_mutate() {
            true => self.locate_writable(path)?,
            false => self.locate(path)?,
        };
        let mut flags = match (conf.read(), conf.write() || conf.append()) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        flags |= OFlags::NOCTTY;
        flags.set(OFlags::CREATE, conf.create() || conf.create_new());
        flags.set(OFlags::EXCL, conf.create_new());
        flags.set(OFlags::TRUNC, conf.truncate());
        let mode = match flags.contains(OFlags::CREATE) {
            true => Mode::from_raw_mode(0o666),
            false => Mode::empty(),
        };
        let file = mount.open(rest, flags, mode)?;
        Ok(Box::new(HostFile::new(
            file.into(),
            self.clone(),
            path.into(),
        )))
    }
}

/// An absolute path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            _ => {}
        }
    }
    normal
}

/// An entry of a listing, of which only name and type are asked for.
fn entry(path: PathBuf, ty: Type) -> DirEntry {
    DirEntry {
        path,
        metadata: Ok(Metadata {
            ft: file_type(ty),
            ..Metadata::default()
        }),
    }
}

/// The type of an entry in a file system that does not list it.
fn type_of(dir: std::os::fd::BorrowedFd<'_>, name: &std::ffi::CStr) -> Type {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_or(Type::RegularFile, |stat| Type::from_raw_mode(stat.st_mode))
}

fn metadata(stat: &Stat) -> Metadata {
    Metadata {
        ft: file_type(Type::from_raw_mode(stat.st_mode)),
        accessed: nanoseconds(stat.st_atime, stat.st_atime_nsec),
        // What `wasmer-wasix` hands on as the time of the last change.
        created: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        len: u64::try_from(stat.st_size).unwrap_or(0),
    }
}

/// Nanoseconds since 1970; a time before is 1970.
pub(crate) fn nanoseconds(seconds: i64, nanoseconds: impl TryInto<u64>) -> u64 {
    u64::try_from(seconds).map_or(0, |seconds| {
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(nanoseconds.try_into().unwrap_or(0))
    })
}

fn file_type(ty: Type) -> FileType {
    FileType {
        dir: ty == Type::Directory,
        file: ty == Type::RegularFile,
        symlink: ty == Type::Symlink,
        char_device: ty == Type::CharacterDevice,
        block_device: ty == Type::BlockDevice,
        socket: ty == Type::Socket,
        // `wasmer-wasix` panics at a file of no type.
        fifo: matches!(ty, Type::Fifo | Type::Unknown),
    }
}

/// The error of `virtual-fs` that `wasmer-wasix` turns into the nearest one of
/// WASI. A path that leads out of its directory is not permitted.
pub(crate) fn failed(errno: Errno) -> FsError {
    match errno {
        Errno::NOENT => FsError::EntryNotFound,
        Errno::EXIST => FsError::AlreadyExists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::XDEV | Errno::TXTBSY => {
            FsError::PermissionDenied
        }
        Errno::NOTDIR => FsError::BaseNotDirectory,
        Errno::ISDIR => FsError::NotAFile,
        Errno::NOTEMPTY => FsError::DirectoryNotEmpty,
        Errno::INVAL | Errno::NAMETOOLONG | Errno::LOOP => FsError::InvalidInput,
        Errno::NOSPC | Errno::DQUOT => FsError::StorageFull,
        Errno::NODEV | Errno::NXIO => FsError::NoDevice,
        _ => FsError::IOError,
    }
}

#[cfg(test)]
mod tests;
