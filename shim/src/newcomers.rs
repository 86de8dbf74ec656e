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
//! `delete`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::folder::{self, Alive, GONE};

/// How long containerd may take from a `start` to its first call.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The extension of a mark; the rest of its name is that of the folder.
const EXTENSION: &str = "new";

/// Marks the server of a folder, which is to listen at a socket.
///
/// # Errors
///
/// When the mark cannot be written.
pub fn mark(dir: &Path, socket: &Path) -> io::Result<()> {
    let socket = socket.as_os_str().as_encoded_bytes();
    fs::write(dir.with_extension(EXTENSION), socket)
}

/// Removes the mark of a folder's server.
pub fn unmark(dir: &Path) {
    let _ = fs::remove_file(dir.with_extension(EXTENSION));
}

/// Removes folder and socket of each server below `run` that was marked more
/// than `patience` ago and lives no more, after `clear` has removed what is made
/// of tasks; and folders that whoever removed them was killed at. What cannot be
/// removed is left to the next.
pub fn sweep(run: &Path, patience: Duration, clear: impl Fn(&Path) -> io::Result<()>) {
    for file in fs::read_dir(run).into_iter().flatten().flatten() {
        let path = file.path();
        let is = |extension: &str| path.extension().is_some_and(|it| it == extension);
        if is(EXTENSION) && is_older(&file, patience) {
            let _ = remove_dead(&path, &clear);
        } else if is(GONE) && is_older(&file, patience) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn is_older(file: &fs::DirEntry, age: Duration) -> bool {
    let made = file.metadata().and_then(|metadata| metadata.modified());
    made.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > age))
}

fn remove_dead(mark: &Path, clear: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    use std::os::unix::ffi::OsStringExt;
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
        let socket = PathBuf::from(std::ffi::OsString::from_vec(fs::read(mark)?));
        let _ = fs::remove_file(socket);
        folder::remove(&dir)?;
    }
    fs::remove_file(mark)
}

#[cfg(test)]
mod tests {
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
            mark(&dir, &socket).unwrap();
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
    fn only_a_dead_server_without_a_task_is_removed() {
        let run = Run(tempfile::tempdir().unwrap());
        let (_, alive) = run.server("alive");
        drop(run.server("dead"));
        let (served, _) = run.server("served");
        unmark(&served);
        fs::write(run.0.path().join("gone.new"), "/nonexistent").unwrap();
        fs::create_dir(run.0.path().join("half.1.gone")).unwrap();
        sweep(run.0.path(), Duration::from_secs(3600), |_| Ok(()));
        assert_eq!(run.names().len(), 10, "too young: {:?}", run.names());
        let refuse = |_: &Path| Err(io::Error::from(io::ErrorKind::TimedOut));
        sweep(run.0.path(), Duration::ZERO, refuse);
        assert_eq!(run.names().len(), 8, "its task is left: {:?}", run.names());
        sweep(run.0.path(), Duration::ZERO, |_| Ok(()));
        assert_eq!(
            run.names(),
            ["alive", "alive.new", "alive.sock", "served", "served.sock"]
        );
        drop(alive);
    }
}
