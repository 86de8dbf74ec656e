//! Identifying the build that made precompiled code.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::{Object, ReadCache};

/// Why a build cannot be identified.
#[derive(Debug, thiserror::Error)]
pub enum BuildIdError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file carries no build id.
    #[error("{file}: no build id; link it with --build-id")]
    Missing {
        /// The file.
        file: PathBuf,
    },
}

/// The build id of an ELF file, the note `NT_GNU_BUILD_ID`, in hexadecimal.
///
/// # Errors
///
/// When the file cannot be read, is no ELF file or has no build id.
pub fn of_file(path: &Path) -> Result<String, BuildIdError> {
    let file = File::open(path).map_err(|source| BuildIdError::Read {
        file: path.into(),
        source,
    })?;
    let cache = ReadCache::new(file);
    object::File::parse(&cache)
        .ok()
        .and_then(|elf| elf.build_id().ok().flatten().map(crate::cache::hex))
        .ok_or_else(|| BuildIdError::Missing { file: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_program_has_one_and_a_text_has_none() {
        let id = of_file(&std::env::current_exe().unwrap()).unwrap();
        assert!(
            id.len() >= 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        let text = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            of_file(text.path()),
            Err(BuildIdError::Missing { .. })
        ));
    }
}
