//! Making room.

use std::collections::HashSet;
use std::fs::{self, File};

use rustix::fs::FlockOperation;
use serde::Serialize;

use super::{Cache, missing_as_none};
use crate::cache::{CacheError, Key};

const NONBLOCKING: FlockOperation = FlockOperation::NonBlockingLockExclusive;

/// What [`Cache::prune`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Entries removed.
    pub removed: usize,
    /// Bytes of code freed.
    pub freed: u64,
}

impl Cache {
    /// Removes what was used longest ago for as much room as code takes. Whether there was any.
    pub(super) fn give_way_to(&self, code: &File) -> Result<bool, CacheError> {
        let dir = self.code_dir();
        let size = code.metadata().map_err(CacheError::io(&dir))?.len();
        let codes: HashSet<_> = self
            .stored()?
            .into_iter()
            .map(|(_, it, _)| it.code)
            .collect();
        let sizes = codes
            .iter()
            .filter_map(|code| fs::metadata(self.code_path(code)).ok());
        let taken: u64 = sizes.map(|code| code.len()).sum();
        Ok(self.prune(taken.saturating_sub(size))?.removed > 0)
    }

    /// Removes what was used longest ago until the code takes at most
    /// `max_size` bytes, and code that no entry names.
    ///
    /// # Errors
    ///
    /// When the cache cannot be read or an entry cannot be removed.
    pub fn prune(&self, max_size: u64) -> Result<Pruned, CacheError> {
        let lock = self.dir.join("lock/prune");
        let guard = File::create(&lock).map_err(CacheError::io(&lock))?;
        rustix::fs::flock(&guard, FlockOperation::LockExclusive)
            .map_err(|errno| CacheError::io(&lock)(errno.into()))?;
        let mut stored = self.stored()?;
        stored.sort_by_key(|(_, _, used)| std::cmp::Reverse(*used));
        let (mut total, mut pruned, mut kept) = (0, Pruned::default(), HashSet::new());
        for (key, entry, _) in stored {
            // Entries of several builds may share their code.
            if kept.contains(&entry.code) {
                continue;
            }
            let size = fs::metadata(self.code_path(&entry.code)).map(|code| code.len());
            if let Ok(size) = size
                && total + size <= max_size
            {
                total += size;
                kept.insert(entry.code);
                continue;
            }
            self.discard(&key, &entry, &kept)?;
            pruned.removed += 1;
            pruned.freed += size.unwrap_or(0);
        }
        self.remove_unnamed_code(&kept)?;
        self.remove_unused_locks()?;
        Ok(pruned)
    }

    /// Removes the locks of keys that have no entry, unless somebody holds one
    /// or has made it a moment ago to take it.
    fn remove_unused_locks(&self) -> Result<(), CacheError> {
        let dir = self.dir.join("lock");
        for file in fs::read_dir(&dir).map_err(CacheError::io(&dir))?.flatten() {
            let name = file.file_name();
            let Some(key) = name.to_str().and_then(Key::parse) else {
                continue;
            };
            let path = file.path();
            if is_young(&file) || self.entry_path(&key).exists() {
                continue;
            }
            let held =
                File::open(&path).is_ok_and(|lock| rustix::fs::flock(&lock, NONBLOCKING).is_err());
            if !held {
                missing_as_none(fs::remove_file(&path)).map_err(CacheError::io(&path))?;
            }
        }
        Ok(())
    }

    /// Removes code that was left by somebody who died before naming it. What
    /// is younger than a minute may still be on its way.
    fn remove_unnamed_code(&self, named: &HashSet<String>) -> Result<(), CacheError> {
        let dir = self.dir.join("code");
        for file in fs::read_dir(&dir).map_err(CacheError::io(&dir))?.flatten() {
            if is_young(&file)
                || file
                    .file_name()
                    .to_str()
                    .is_some_and(|name| named.contains(name))
            {
                continue;
            }
            let path = file.path();
            missing_as_none(fs::remove_file(&path)).map_err(CacheError::io(&path))?;
        }
        Ok(())
    }
}

/// Whether a file was made within the last minute.
fn is_young(file: &fs::DirEntry) -> bool {
    let made = file.metadata().and_then(|metadata| metadata.modified());
    made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() < 60))
}
