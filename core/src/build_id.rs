//! Identifying the build that made precompiled code.
//!
//! For an engine that is linked in, that is the program's own build id. A
//! plugin may only be a wrapper around a library that holds the compiler: its
//! identity is that of the plugin and of all libraries that it needs, but those
//! of the C runtime. They are found as the dynamic linker finds them, without
//! loading anything, since the server asks, which loads no engine.

mod libraries;
mod linker_cache;

use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::{Object, ReadCache};
use sha2::{Digest as _, Sha256};

pub use libraries::{is_runtime, libraries};

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
    /// A library that the file needs is not there.
    #[error("{file}: needs {library}, which is not installed; install it, and run ldconfig")]
    Library {
        /// The file.
        file: PathBuf,
        /// The library's name.
        library: String,
    },
}

/// The build id of an ELF file, the note `NT_GNU_BUILD_ID`, in hexadecimal.
///
/// # Errors
///
/// When the file cannot be read, is no ELF file or has no build id.
pub fn of_file(path: &Path) -> Result<String, BuildIdError> {
    let cache = ReadCache::new(open(path)?);
    object::File::parse(&cache)
        .ok()
        .and_then(|elf| elf.build_id().ok().flatten().map(crate::cache::hex))
        .ok_or_else(|| BuildIdError::Missing { file: path.into() })
}

/// What identifies a plugin: its build id, and those of the libraries that it
/// needs, in hexadecimal.
///
/// # Errors
///
/// When the file or a library cannot be read, is not there or has no build id.
pub fn of_plugin(path: &Path) -> Result<String, BuildIdError> {
    let own = of_file(path)?;
    let libraries = libraries(path)?;
    if libraries.is_empty() {
        return Ok(own);
    }
    let mut hash = Sha256::new();
    hash.update(own);
    for library in libraries {
        hash.update(format!("\n{}", of_file(&library)?));
    }
    Ok(crate::cache::hex(&hash.finalize()))
}

/// What identifies the build that holds the compiler of an engine: its plugin,
/// or the executor that it is linked into.
///
/// # Errors
///
/// As [`of_plugin`] and [`of_file`].
pub fn of_engine(plugin: Option<&Path>, executor: &Path) -> Result<String, BuildIdError> {
    match plugin {
        Some(plugin) => of_plugin(plugin),
        None => of_file(executor),
    }
}

fn open(path: &Path) -> Result<File, BuildIdError> {
    File::open(path).map_err(|source| BuildIdError::Read {
        file: path.into(),
        source,
    })
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
