//! The cache of precompiled code.
//!
//! ```text
//! <dir>/entries/<key>.json     what was compiled, and the digest of its code
//! <dir>/code/<sha256>          precompiled code, named by its own digest
//! <dir>/lock/<key>             held by whoever compiles for this key
//! <run>/verified/<sha256>      the inode whose digest was checked since boot
//! <run>/identities/<sha256>    the key of a file that was seen since boot
//! ```
//!
//! An entry becomes visible by one rename, so a reader sees all of it or none.
//! Code is trusted because only root can write below `<dir>` and because its
//! digest is checked once per boot and inode: a file that was changed has
//! another change time and is checked again. Code that does not match its name
//! is removed, and the program is compiled again.

mod identity;
mod key;
mod store;

pub use identity::{FileIdentity, IdentityIndex};
pub(crate) use key::hex;
pub use key::{Key, KeyParts, processor_features};
pub use store::{Cache, Entry, Origin, Pruned, Stored};

use std::path::PathBuf;

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file of the cache cannot be read or written.
    #[error("cache {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder could be changed by somebody else.
    #[error(
        "cache {path}: owned by user {owner} with mode {mode:o}; it must belong to user {expected} \
         and be writable by nobody else"
    )]
    Untrusted {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode bits.
        mode: u32,
        /// Who it should belong to.
        expected: u32,
    },
}

impl CacheError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| CacheError::Io { path, source }
    }

    fn is_want_of_room(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, CacheError::Io { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}
