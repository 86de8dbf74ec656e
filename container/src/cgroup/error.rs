//! What goes wrong with control groups.

use crate::SysError;

/// Why a cgroup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The kernel refused a step.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The specification asks for a limit that this host cannot set.
    #[error("linux.resources.{what}: the {controller} controller is not there on this host")]
    NoController {
        /// Part of the specification.
        what: &'static str,
        /// The missing controller.
        controller: &'static str,
    },
    /// A value that is none.
    #[error("linux.resources.{what}: {reason}")]
    Invalid {
        /// Part of the specification.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// systemd does not do what it is asked for.
    #[error("systemd's cgroup driver: cannot {what} {unit}: {reason}")]
    Scope {
        /// What it is asked for.
        what: &'static str,
        /// The scope.
        unit: String,
        /// What it says.
        reason: String,
    },
    /// A cgroup path that cannot be used.
    #[error("linux.cgroupsPath \"{path}\": {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}
