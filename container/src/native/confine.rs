//! The last privileges of a container's first process.

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::syscall::syscall::create_syscall;
use trireme_core::spec::oci;

use super::order::Confinement;

impl Confinement {
    /// Installs the filter, and gives up the capabilities that `libcontainer` has left for that.
    ///
    /// # Errors
    ///
    /// The reason, for the user.
    pub(super) fn enter(&self) -> Result<(), String> {
        self.filter.install().map_err(|error| error.to_string())?;
        self.capabilities.as_ref().map_or(Ok(()), drop_capabilities)
    }
}

/// Leaves this process the capabilities that are named, which takes those that a change of user has
/// put out of effect.
pub(super) fn drop_capabilities(sets: &oci::LinuxCapabilities) -> Result<(), String> {
    let calls = create_syscall();
    reset_effective(calls.as_ref())
        .and_then(|()| drop_privileges(sets, calls.as_ref()))
        .map_err(|error| format!("drop capabilities: {error}"))
}
