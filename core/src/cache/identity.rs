//! Knowing a file again without reading it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::shelf::Shelf;

/// How many files an index knows at most.
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
pub struct IdentityIndex(Shelf);

impl IdentityIndex {
    /// The index below the run directory; it is made when first written.
    pub fn new(run: &Path) -> Self {
        IdentityIndex(Shelf::new(run, "identities", MAX_KNOWN))
    }

    /// The key of the file for one engine build, settings and processor, given
    /// as `context`.
    pub fn find(&self, identity: &FileIdentity, context: &str) -> Option<Key> {
        let line = identity.line();
        let text = self.0.find(&[line.as_bytes(), context.as_bytes()])?;
        Key::parse(str::from_utf8(&text).ok()?)
    }

    /// Remembers the key of a file that is settled. One that is forgotten for others
    /// is read again.
    ///
    /// # Errors
    ///
    /// When the index cannot be written.
    pub fn remember(&self, identity: &FileIdentity, context: &str, key: &Key) -> io::Result<()> {
        if !identity.is_settled(SystemTime::now()) {
            return Ok(());
        }
        let line = identity.line();
        let subject = [line.as_bytes(), context.as_bytes()];
        self.0.keep(&subject, key.as_str().as_bytes())
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
