//! Where code is, by which path it is opened, and where it is noted.

use std::path::{Path, PathBuf};

use super::Cache;

impl Cache {
    /// Opens code by another path to its folder, which cannot be written by: who is
    /// handed a file could else open it anew.
    #[must_use]
    pub fn with_reading(self, code: PathBuf) -> Self {
        Cache {
            reading: Some(code),
            ..self
        }
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
        match &self.reading {
            Some(folder) => folder.join(code),
            None => self.code_path(code),
        }
    }
}
