//! Where code is, by which path it is opened, and where it is noted.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Cache;

impl Cache {
    /// Opens code by another way to its folder, which cannot be written by: who is
    /// handed a file could else open it anew.
    #[must_use]
    pub fn with_reading(self, code: OwnedFd) -> Self {
        Cache {
            reading: Some(Arc::new(code)),
            ..self
        }
    }

    /// Whether what it reads from is still the folder that it writes to: that may have been
    /// removed and made anew, or another file system mounted there.
    pub fn is_there(&self) -> bool {
        let identity = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let code = identity(&self.code_dir());
        code.is_some() && code == identity(&self.reading_dir())
    }

    /// The folder of the code.
    pub fn code_dir(&self) -> PathBuf {
        self.dir.join("code")
    }

    /// Remembers below `run`, a folder that does not survive a boot, which
    /// code has been checked.
    #[must_use]
    pub fn with_run_dir(self, run: &Path) -> Self {
        Cache {
            verified: Some(run.join("verified")),
            ..self
        }
    }

    pub(super) fn code_path(&self, code: &str) -> PathBuf {
        self.code_dir().join(code)
    }

    pub(super) fn reading_path(&self, code: &str) -> PathBuf {
        self.reading_dir().join(code)
    }

    fn reading_dir(&self) -> PathBuf {
        match &self.reading {
            Some(folder) => format!("/proc/self/fd/{}", folder.as_raw_fd()).into(),
            None => self.code_dir(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_whose_folder_was_made_anew_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        assert!(cache.is_there());
        let code = fs::File::open(cache.code_dir()).unwrap();
        let cache = cache.with_reading(code.into());
        assert!(cache.is_there());
        fs::rename(cache.code_dir(), folder.path().join("old")).unwrap();
        assert!(!cache.is_there());
        let anew = Cache::open(folder.path()).unwrap();
        assert!(anew.is_there() && !cache.is_there());
    }
}
