//! Whether root alone could have put a file where it is.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};

/// The most links on the way to a file.
const MAX_LINKS: usize = 40;

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be looked at.
    #[error("{}: {source}; correct `plugin`, or install it", file.display())]
    Io {
        /// The file, or a folder above it.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path does not begin at the root.
    #[error("{}: not an absolute path", file.display())]
    Relative {
        /// The path.
        file: PathBuf,
    },
    /// It is a folder, a device or the like.
    #[error("{}: not a regular file", file.display())]
    NotAFile {
        /// The file.
        file: PathBuf,
    },
    /// It is another user's.
    #[error(
        "{}: owned by user {uid}, and code that runs as root is taken from root alone; chown root {}",
        file.display(), file.display()
    )]
    Owner {
        /// The file, or a folder or link on the way to it.
        file: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others may write to it.
    #[error(
        "{}: others than root may write to it, and so to code that runs as root; chmod go-w {}",
        file.display(), file.display()
    )]
    Writable {
        /// The file, or a folder on the way to it.
        file: PathBuf,
    },
}

/// The real path of a regular file that root alone can change: it, every folder
/// above it, and every link on the way belong to root, and nobody else may write
/// to them. What was true once stays so, unless root changes it.
///
/// # Errors
///
/// With the first file or folder on the way of which that is not so.
pub fn check(path: &Path) -> Result<PathBuf, TrustError> {
    if !path.is_absolute() {
        return Err(TrustError::Relative { file: path.into() });
    }
    let mut walk = Walk::new(path)?;
    while let Some(name) = walk.rest.pop_front() {
        walk.step(name)?;
    }
    match FileType::from_raw_mode(walk.status()?.st_mode) {
        FileType::RegularFile => Ok(walk.at),
        _ => Err(TrustError::NotAFile { file: walk.at }),
    }
}

/// A walk down a path, one name at a time.
struct Walk {
    /// The folders from the root to here, each open.
    open: Vec<OwnedFd>,
    /// The path without links to here.
    at: PathBuf,
    /// The names still to go.
    rest: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    fn new(path: &Path) -> Result<Self, TrustError> {
        let root = open(CWD, "/".as_ref()).map_err(|source| io("/".as_ref(), source))?;
        let walk = Walk {
            open: vec![root],
            at: "/".into(),
            rest: names(path),
            links: 0,
        };
        check_status(&walk.at, &walk.status()?)?;
        Ok(walk)
    }

    fn status(&self) -> Result<Stat, TrustError> {
        let last = self.open.last();
        last.map_or(Err(rustix::io::Errno::BADF), rustix::fs::fstat)
            .map_err(|source| io(&self.at, source))
    }

    fn step(&mut self, name: OsString) -> Result<(), TrustError> {
        if name == ".." {
            if self.open.len() > 1 {
                self.open.pop();
                self.at.pop();
            }
            return Ok(());
        }
        let next = self.at.join(&name);
        let failed = |source| io(&next, source);
        let Some(here) = self.open.last() else {
            return Err(failed(rustix::io::Errno::BADF));
        };
        let file = open(here, name.as_ref()).map_err(failed)?;
        let status = rustix::fs::fstat(&file).map_err(failed)?;
        check_status(&next, &status)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Symlink {
            let target = rustix::fs::readlinkat(&file, "", Vec::new()).map_err(failed)?;
            return self.follow(&next, &PathBuf::from(into_os(target.into_bytes())));
        }
        self.open.push(file);
        self.at = next;
        Ok(())
    }

    fn follow(&mut self, link: &Path, target: &Path) -> Result<(), TrustError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io(link, rustix::io::Errno::LOOP));
        }
        if target.is_absolute() {
            self.open.truncate(1);
            self.at = "/".into();
        }
        for name in names(target).into_iter().rev() {
            self.rest.push_front(name);
        }
        Ok(())
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn into_os(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

fn open(at: impl std::os::fd::AsFd, name: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn check_status(file: &Path, status: &Stat) -> Result<(), TrustError> {
    if status.st_uid != 0 {
        return Err(TrustError::Owner {
            file: file.into(),
            uid: status.st_uid,
        });
    }
    // The mode of a link means nothing, and a group with rights by an ACL shows
    // in the mode of the group.
    let is_link = FileType::from_raw_mode(status.st_mode) == FileType::Symlink;
    match !is_link && status.st_mode & 0o022 != 0 {
        true => Err(TrustError::Writable { file: file.into() }),
        false => Ok(()),
    }
}

fn io(file: &Path, source: rustix::io::Errno) -> TrustError {
    TrustError::Io {
        file: file.into(),
        source: source.into(),
    }
}
