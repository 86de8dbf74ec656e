//! Where the programs of this installation are, and which build they are.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The server's program.
pub const SERVER: &str = "trireme-shim";
/// The executor's program.
pub const EXECUTOR: &str = "trireme-executor";

/// A program of this installation was not found.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// This program does not know where it is.
    #[error("cannot tell where this program is: {0}")]
    Here(io::Error),
    /// The other program is not beside this one.
    #[error("{path}: {source}; install it beside this program")]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },
}

/// A program beside this one; a link to this one is followed first.
///
/// # Errors
///
/// When it is not there.
pub fn beside(name: &str) -> Result<PathBuf, InstallError> {
    let here = std::fs::read_link("/proc/self/exe").map_err(InstallError::Here)?;
    Ok(here.with_file_name(name))
}

/// Text that differs between two builds of the server and the executor: their
/// inodes and times, which an upgrade changes.
///
/// # Errors
///
/// When one of them is not there.
pub fn build() -> Result<String, InstallError> {
    let mut build = env!("CARGO_PKG_VERSION").to_owned();
    for name in [SERVER, EXECUTOR] {
        let path = beside(name)?;
        let metadata = std::fs::metadata(&path).map_err(|source| InstallError::Missing {
            path: path.clone(),
            source,
        })?;
        build += &format!(
            " {}:{}:{}.{}",
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
    }
    Ok(build)
}
