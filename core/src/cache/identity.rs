//! Knowing a file again without reading it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::{Key, hex};

/// How many files an index knows at most; each takes a page of memory.
const MAX_KNOWN: usize = 4096;

/// What tells a file's contents apart without reading them: its inode and the
/// times that the kernel alone sets.
///
/// Two files with one identity are the same file with the same contents, as
/// long as `device` is the device that holds the data. The device that
/// `stat(2)` gives for a file on an overlay belongs to that one mount and is
/// given out again after it; the caller puts the device of the layers there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// The device that holds the data.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// The length in bytes.
    pub size: u64,
    /// Last modification, nanoseconds since the epoch.
    pub modified: i128,
    /// Last change of the inode, nanoseconds since the epoch.
    pub changed: i128,
}

impl FileIdentity {
    /// The identity of an open file.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        FileIdentity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the file has been left alone long enough for its change time to
    /// tell the next change apart. Kernels stamp files with a coarse clock, so
    /// two changes within one tick look alike.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        const TICK: Duration = Duration::from_secs(1);
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        i128::try_from(now.saturating_sub(TICK).as_nanos()).is_ok_and(|then| self.changed < then)
    }

    /// The identity as one line of text.
    pub(super) fn line(&self) -> String {
        let FileIdentity {
            device,
            inode,
            size,
            modified,
            changed,
        } = self;
        format!("{device}:{inode}:{size}:{modified}:{changed}")
    }
}

/// Which key a file that was seen since boot has, kept in a folder that does
/// not survive a boot.
#[derive(Clone, Debug)]
pub struct IdentityIndex {
    dir: PathBuf,
}

impl IdentityIndex {
    /// The index below the run directory; it is made when first written.
    pub fn new(run: &Path) -> Self {
        IdentityIndex {
            dir: run.join("identities"),
        }
    }

    /// The key of the file for one engine build, settings and processor, given
    /// as `context`.
    pub fn find(&self, identity: &FileIdentity, context: &str) -> Option<Key> {
        let text = fs::read_to_string(self.path(identity, context)).ok()?;
        Key::parse(text.trim_end())
    }

    /// Remembers the key of a file that is settled. Where there are more than
    /// [`MAX_KNOWN`], forgets the half that was learnt first; such a file is
    /// read again.
    ///
    /// # Errors
    ///
    /// When the index cannot be written.
    pub fn remember(&self, identity: &FileIdentity, context: &str, key: &Key) -> io::Result<()> {
        if !identity.is_settled(SystemTime::now()) {
            return Ok(());
        }
        fs::create_dir_all(&self.dir)?;
        let path = self.path(identity, context);
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&temporary, key.as_str())?;
        fs::rename(&temporary, &path)?;
        self.forget(MAX_KNOWN)
    }

    fn forget(&self, max: usize) -> io::Result<()> {
        let mut known: Vec<_> = fs::read_dir(&self.dir)?.flatten().collect();
        if known.len() <= max {
            return Ok(());
        }
        known.sort_by_cached_key(|file| file.metadata().and_then(|it| it.modified()).ok());
        for file in &known[..known.len() - max / 2] {
            // Another server may have been quicker.
            let _ = fs::remove_file(file.path());
        }
        Ok(())
    }

    fn path(&self, identity: &FileIdentity, context: &str) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(identity.line());
        hash.update([0]);
        hash.update(context);
        self.dir.join(hex(&hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::parse(&"a".repeat(64)).unwrap()
    }

    fn identity(changed: i128) -> FileIdentity {
        FileIdentity {
            device: 1,
            inode: 2,
            size: 3,
            modified: 4,
            changed,
        }
    }

    #[test]
    fn a_known_file_is_found_for_the_same_context_only() {
        let run = tempfile::tempdir().unwrap();
        let index = IdentityIndex::new(run.path());
        index.remember(&identity(5), "one", &key()).unwrap();
        assert_eq!(index.find(&identity(5), "one"), Some(key()));
        assert_eq!(index.find(&identity(5), "two"), None);
        assert_eq!(index.find(&identity(6), "one"), None);
    }

    #[test]
    fn what_was_learnt_first_is_forgotten_first() {
        let run = tempfile::tempdir().unwrap();
        let index = IdentityIndex::new(run.path());
        for changed in 0..5 {
            index.remember(&identity(changed), "one", &key()).unwrap();
            let learnt = SystemTime::UNIX_EPOCH + Duration::from_secs(changed as u64);
            let file = fs::File::options()
                .write(true)
                .open(index.path(&identity(changed), "one"));
            file.unwrap().set_modified(learnt).unwrap();
        }
        index.forget(5).unwrap();
        assert_eq!(index.find(&identity(0), "one"), Some(key()));
        index.forget(4).unwrap();
        for (changed, known) in [(0, None), (2, None), (3, Some(key())), (4, Some(key()))] {
            assert_eq!(index.find(&identity(changed), "one"), known, "{changed}");
        }
    }

    #[test]
    fn a_file_that_was_just_changed_is_not_remembered() {
        let run = tempfile::tempdir().unwrap();
        let index = IdentityIndex::new(run.path());
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let fresh = identity(i128::try_from(now.as_nanos()).unwrap());
        index.remember(&fresh, "one", &key()).unwrap();
        assert_eq!(index.find(&fresh, "one"), None);
    }
}
