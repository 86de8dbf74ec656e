//! Servers that have had no task yet.
//!
//! containerd cleans up after a server that has made a task. One that is killed
//! before that is nobody's: before containerd 1.7 a start that fails so is
//! followed by no `delete`, and in later ones `delete` may find the bundle gone,
//! which containerd removes when a Create fails. So `start` marks each new server
//! by a file beside its folder, its first task removes the mark once it is made,
//! and the next server to come up removes what marks of long ago stand for, if
//! it is dead.
//!
//! The same holds for a server whose pod has lost its own task while others go
//! on: for those containerd, which knows them by the pod's server, runs no
//! `delete`; and for a server that is killed when containerd is. That one was not
//! marked, and is by the first that comes up and finds it dead.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::folder::{self, Alive, GONE};

/// How long containerd may take from a `start` to its first call.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The extension of a mark; the rest of its name is that of the folder.
const EXTENSION: &str = "new";
/// A file that is as old as the last look for dead servers.
const LOOKED: &str = ".looked";

/// Marks the server of a folder.
///
/// # Errors
///
/// When the mark cannot be written.
pub fn mark(dir: &Path) -> io::Result<()> {
    fs::write(dir.with_extension(EXTENSION), "")
}

/// Removes the mark of a folder's server.
pub fn unmark(dir: &Path) {
    let _ = fs::remove_file(dir.with_extension(EXTENSION));
}

/// Removes mark, socket and folder of a server whose folder the caller has locked.
///
/// # Errors
///
/// When the folder cannot be removed.
pub fn remove(dir: &Path) -> io::Result<()> {
    unmark(dir);
    folder::remove(dir)
}

/// Removes folder and socket of each server below `run` that was marked more
/// than `patience` ago and lives no more, after `clear` has removed what is made
/// of tasks; and folders that whoever removed them was killed at. What cannot be
/// removed is left to the next. Once in `patience` at most, it looks for dead servers
/// without a mark, and marks them. Returns whether there were any.
pub fn sweep(run: &Path, patience: Duration, clear: impl Fn(&Path) -> io::Result<()>) -> bool {
    let looks = is_time_to_look(run, patience);
    let mut has_marked = false;
    for file in fs::read_dir(run).into_iter().flatten().flatten() {
        let path = file.path();
        let is = |extension: &str| path.extension().is_some_and(|it| it == extension);
        if is(EXTENSION) && is_older(&file, patience) {
            let _ = remove_dead(&path, &clear);
        } else if is(GONE) && is_older(&file, patience) {
            let _ = fs::remove_dir_all(&path);
        } else if looks && path.extension().is_none() {
            has_marked |= mark_dead(&path).unwrap_or(false);
        }
    }
    has_marked
}

/// To look at every server takes some system calls for each, too many where every pod has one.
fn is_time_to_look(run: &Path, patience: Duration) -> bool {
    let looked = run.join(LOOKED);
    let is_time = folder::age(fs::metadata(&looked)).is_none_or(|age| age >= patience);
    is_time && fs::write(looked, "").is_ok()
}

/// Marks a server that is dead, and not marked.
fn mark_dead(dir: &Path) -> io::Result<bool> {
    if dir.with_extension(EXTENSION).exists() {
        return Ok(false);
    }
    let Some(_lock) = folder::try_lock(dir)? else {
        return Ok(false);
    };
    let Alive::Free(_alive) = folder::alive(dir)? else {
        return Ok(false);
    };
    mark(dir)?;
    Ok(true)
}

fn is_older(file: &fs::DirEntry, patience: Duration) -> bool {
    folder::age(file.metadata()).is_some_and(|age| age > patience)
}

fn remove_dead(mark: &Path, clear: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let dir = mark.with_extension("");
    let _lock = match folder::try_lock(&dir) {
        Ok(Some(lock)) => Some(lock),
        Ok(None) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if dir.exists() {
        let Alive::Free(_alive) = folder::alive(&dir)? else {
            return Ok(());
        };
        clear(&dir)?;
        folder::remove(&dir)?;
    }
    fs::remove_file(mark)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Run(tempfile::TempDir);

    impl Run {
        fn server(&self, name: &str) -> (PathBuf, fs::File) {
            let dir = self.0.path().join(name);
            drop(folder::lock_or_make(&dir).unwrap());
            let Alive::Free(alive) = folder::alive(&dir).unwrap() else {
                panic!("nobody lives there")
            };
            let socket = self.socket(name);
            fs::write(&socket, "").unwrap();
            folder::listens_at(&alive, &socket).unwrap();
            mark(&dir).unwrap();
            (dir, alive)
        }

        fn socket(&self, name: &str) -> PathBuf {
            self.0.path().join(format!("{name}.sock"))
        }

        fn names(&self) -> Vec<String> {
            let files = fs::read_dir(self.0.path()).unwrap().flatten();
            let mut names: Vec<_> = files
                .map(|file| file.file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn only_a_dead_server_is_removed_and_late() {
        let run = Run(tempfile::tempdir().unwrap());
        let (_, alive) = run.server("alive");
        drop(run.server("dead"));
        let (served, _) = run.server("served");
        unmark(&served);
        fs::write(run.0.path().join("gone.new"), "").unwrap();
        fs::create_dir(run.0.path().join("half.1.gone")).unwrap();
        let path = run.0.path();
        assert!(sweep(path, Duration::from_secs(3600), |_| Ok(())));
        let names = run.names();
        assert_eq!(names.len(), 12, "too young: {names:?}");
        assert!(names.contains(&"served.new".to_owned()), "{names:?}");
        let refuse = |_: &Path| Err(io::Error::from(io::ErrorKind::TimedOut));
        assert!(!sweep(path, Duration::ZERO, refuse), "all have a mark");
        assert_eq!(run.names().len(), 10, "its task is left: {:?}", run.names());
        sweep(path, Duration::ZERO, |_| Ok(()));
        assert_eq!(run.names(), [LOOKED, "alive", "alive.new", "alive.sock"]);
        drop(alive);
    }
}
