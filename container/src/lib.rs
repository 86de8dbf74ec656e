//! The Linux part of a Wasm container: processes and namespaces, mounts,
//! cgroups and their accounts, standard streams, what a server keeps on disk,
//! and everything that init does before a guest's first instruction.
//!
//! The server uses [`cgroup`], [`process`], [`state`], [`stdio`] and one end
//! of [`link`]; `trireme-executor` uses [`init`] and the other end.

pub mod cgroup;
pub mod crash;
pub mod filter;
pub mod init;
pub mod link;
pub mod logger;
pub mod native;
pub mod open_files;
pub mod pod;
pub mod process;
pub mod state;
pub mod stdio;
mod sys;
pub mod zygote;

/// An error of the kernel with what was being done.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct SysError {
    /// What was being done, with the path it was done to.
    pub what: String,
    /// The kernel's answer.
    pub source: std::io::Error,
}

/// Says what was being done when the kernel answered with an error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, SysError>;
}

impl<T, E: Into<std::io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, SysError> {
        self.map_err(|error| SysError {
            what: what(),
            source: error.into(),
        })
    }
}
