//! Small files that anybody can do without: what took a while to find out, kept in a folder that
//! does not survive a boot.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::cache::hex;

/// A folder of what was learnt since boot. Servers share it, without a word to each other; a
/// process keeps one thing at a time.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
    max: usize,
}

impl Shelf {
    /// The shelf `name` below the run directory, for at most `max` files, each of which takes a
    /// page of memory or more. The folder is made when first written to.
    #[must_use]
    pub fn new(run: &Path, name: &str, max: usize) -> Self {
        let dir = run.join(name);
        Shelf { dir, max }
    }

    /// What was learnt of a subject, named by all that it depends on.
    #[must_use]
    pub fn find(&self, subject: &[&[u8]]) -> Option<Vec<u8>> {
        fs::read(self.path(subject)).ok()
    }

    /// Keeps what was learnt of a subject. Where that is too much, forgets the half that was
    /// learnt first.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub fn keep(&self, subject: &[&[u8]], learnt: &[u8]) -> io::Result<()> {
        // What is learnt is believed.
        let mut dir = fs::DirBuilder::new();
        dir.recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.path(subject);
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = fs::write(&temporary, learnt).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.forget()
    }

    fn forget(&self) -> io::Result<()> {
        let mut known: Vec<_> = fs::read_dir(&self.dir)?.flatten().collect();
        if known.len() <= self.max {
            return Ok(());
        }
        known.sort_by_cached_key(|file| file.metadata().and_then(|it| it.modified()).ok());
        for file in &known[..known.len() - self.max / 2] {
            // Another server may have been quicker.
            let _ = fs::remove_file(file.path());
        }
        Ok(())
    }

    /// Each part with its length before it: no two subjects are told alike.
    fn path(&self, subject: &[&[u8]]) -> PathBuf {
        let mut hash = Sha256::new();
        for part in subject {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        self.dir.join(hex(&hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn what_was_learnt_is_found_by_all_of_its_subject() {
        let run = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(run.path(), "things", 4);
        shelf.keep(&[b"one", b"two"], b"learnt").unwrap();
        assert_eq!(shelf.find(&[b"one", b"two"]), Some(b"learnt".to_vec()));
        let others: [&[&[u8]]; 3] = [&[b"one"], &[b"onetwo"], &[b"onet", b"wo"]];
        for other in others {
            assert_eq!(shelf.find(other), None);
        }
        shelf.keep(&[b"one", b"two"], b"anew").unwrap();
        assert_eq!(shelf.find(&[b"one", b"two"]), Some(b"anew".to_vec()));
    }

    #[test]
    fn what_was_learnt_first_is_forgotten_first() {
        let run = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(run.path(), "things", 4);
        for number in 0..5_u8 {
            assert!(number < 4 || shelf.find(&[&[0]]).is_some());
            shelf.keep(&[&[number]], b"learnt").unwrap();
            // The last one is of now, and stays.
            let learnt = SystemTime::UNIX_EPOCH + Duration::from_secs(number.into());
            if let Ok(file) = fs::File::options()
                .write(true)
                .open(shelf.path(&[&[number]]))
            {
                file.set_modified(learnt).unwrap();
            }
        }
        let known = [0, 1, 2, 3, 4].map(|number: u8| shelf.find(&[&[number]]).is_some());
        assert_eq!(known, [false, false, false, true, true]);
    }
}
