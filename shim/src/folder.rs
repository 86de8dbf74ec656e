//! A server's folder below `/run/trireme`, and the two locks in it.
//!
//! `.lock` is held by whoever looks for a server, starts one, leaves, or
//! cleans up after one; `.alive` by the server as long as it lives. `.alive` is
//! only tried under `.lock`, so that a try is never taken for a server.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

// Those in the folder begin with a dot, which no namespace of containerd does.

/// Locked by whoever looks for a server, or does without one.
pub const LOCK: &str = ".lock";
/// Locked by the server.
pub const ALIVE: &str = ".alive";
/// A file for each task that `start` has announced, with the path of its bundle.
pub const STARTING: &str = ".starting";

/// The extension of a folder that is being removed.
pub const GONE: &str = "gone";

/// Whether a folder has a server.
#[derive(Debug)]
pub enum Alive {
    /// It has.
    Held,
    /// It has none; the file is locked now, and whoever keeps it open is the
    /// server.
    Free(File),
}

/// Locks a folder, making it where it is missing. A server that leaves removes
/// it, so a lock counts only if the folder still has it.
///
/// # Errors
///
/// The kernel's.
pub fn lock_or_make(dir: &Path) -> io::Result<File> {
    loop {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        match open(&dir.join(LOCK), true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(file) => {
                rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
                if is_still(&file, dir) {
                    return Ok(file);
                }
            }
        }
    }
}

/// Locks a folder if it is there.
///
/// # Errors
///
/// The kernel's.
pub fn lock(dir: &Path) -> io::Result<Option<File>> {
    match open(&dir.join(LOCK), false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(file) => {
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            Ok(is_still(&file, dir).then_some(file))
        }
    }
}

/// Locks a folder unless somebody else has it locked.
///
/// # Errors
///
/// The kernel's; `NotFound` when the folder is gone.
pub fn try_lock(dir: &Path) -> io::Result<Option<File>> {
    let file = open(&dir.join(LOCK), false)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) if is_still(&file, dir) => Ok(Some(file)),
        Ok(()) => Err(io::ErrorKind::NotFound.into()),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a folder that the caller has locked has a server.
///
/// # Errors
///
/// The kernel's.
pub fn alive(dir: &Path) -> io::Result<Alive> {
    let file = open(&dir.join(ALIVE), true)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Alive::Free(file)),
        Err(Errno::WOULDBLOCK) => Ok(Alive::Held),
        Err(error) => Err(error.into()),
    }
}

/// Writes down where the server of an open `.alive` listens: whoever comes after its death may
/// have nothing else that tells.
///
/// # Errors
///
/// The kernel's.
pub fn listens_at(mut alive: &File, socket: &Path) -> io::Result<()> {
    alive.set_len(0)?;
    alive.write_all(socket.as_os_str().as_encoded_bytes())
}

/// Where the server of a folder listens, or did.
///
/// # Errors
///
/// The kernel's.
pub fn socket(dir: &Path) -> io::Result<PathBuf> {
    Ok(PathBuf::from(OsString::from_vec(fs::read(
        dir.join(ALIVE),
    )?)))
}

/// How long ago a file was written, where that can be told.
pub fn age(metadata: io::Result<Metadata>) -> Option<Duration> {
    metadata.and_then(|it| it.modified()).ok()?.elapsed().ok()
}

/// Removes a folder that the caller has locked, and the socket of its server. For everybody else it
/// is gone at once: who comes meanwhile makes another.
///
/// # Errors
///
/// The kernel's.
pub fn remove(dir: &Path) -> io::Result<()> {
    if let Ok(socket) = socket(dir) {
        let _ = fs::remove_file(socket);
    }
    let gone = dir.with_extension(format!("{}.{GONE}", std::process::id()));
    fs::rename(dir, &gone)?;
    fs::remove_dir_all(gone)
}

fn is_still(lock: &File, dir: &Path) -> bool {
    let held = lock.metadata().map(|metadata| metadata.ino());
    let there = fs::metadata(dir.join(LOCK)).map(|metadata| metadata.ino());
    matches!((held, there), (Ok(held), Ok(there)) if held == there)
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .create(create)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_server_is_free_and_then_held() {
        let dir = tempfile::tempdir().unwrap();
        let server = dir.path().join("server");
        assert!(lock(&server).unwrap().is_none());
        let held = lock_or_make(&server).unwrap();
        assert!(try_lock(&server).unwrap().is_none());
        let Alive::Free(life) = alive(&server).unwrap() else {
            panic!("nobody lives there")
        };
        assert!(matches!(alive(&server).unwrap(), Alive::Held));
        drop(life);
        assert!(matches!(alive(&server).unwrap(), Alive::Free(_)));
        drop(held);
        assert!(try_lock(&server).unwrap().is_some());
    }

    #[test]
    fn the_lock_of_a_folder_that_was_removed_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let server = dir.path().join("server");
        let held = lock_or_make(&server).unwrap();
        let path = server.clone();
        let waiting = std::thread::spawn(move || lock_or_make(&path).unwrap());
        remove(&server).unwrap();
        drop(held);
        let lock = waiting.join().unwrap();
        assert!(is_still(&lock, &server));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
