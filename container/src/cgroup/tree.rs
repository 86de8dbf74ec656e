//! Cgroups that a container makes below its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::is_gone;
use crate::{Doing, SysError};

/// A cgroup and all below it, the lower ones first. However deep they are, one is open at a time.
pub(super) fn all(path: &Path) -> Result<Vec<PathBuf>, SysError> {
    let mut found = vec![path.to_owned()];
    let mut looked = 0;
    while let Some(folder) = found.get(looked) {
        looked += 1;
        match fs::read_dir(folder) {
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error).doing(|| format!("read {}", folder.display())),
            Ok(entries) => {
                let folders = entries
                    .flatten()
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path());
                let below: Vec<_> = folders.collect();
                found.extend(below);
            }
        }
    }
    found.reverse();
    Ok(found)
}

/// Removes a cgroup. Few have others below them, so that those are looked for last.
pub(super) fn remove(path: &Path) -> Result<(), SysError> {
    let remove_one = |path: &Path| match fs::remove_dir(path) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    };
    if remove_one(path).is_ok() {
        return Ok(());
    }
    for path in all(path)? {
        remove_one(&path).doing(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}
