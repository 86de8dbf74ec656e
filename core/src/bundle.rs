//! The link from a bundle to what a server keeps of its container.
//!
//! containerd gives `delete` nothing but the bundle, so the bundle leads to
//! the state, whether or not there is any yet.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The link's name in the bundle.
const LINK: &str = "trireme";

/// Links a bundle to a state folder, which need not exist. A link that is
/// there already stays.
///
/// # Errors
///
/// When the bundle cannot be written.
pub fn link(bundle: &Path, state: &Path) -> io::Result<()> {
    match symlink(state, bundle.join(LINK)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The state folder that a bundle is linked to.
pub fn state(bundle: &Path) -> Option<PathBuf> {
    std::fs::read_link(bundle.join(LINK)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_leads_to_state_that_is_not_there_yet() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(state(bundle.path()), None);
        link(bundle.path(), Path::new("/run/x")).unwrap();
        link(bundle.path(), Path::new("/run/y")).unwrap();
        assert_eq!(state(bundle.path()), Some(PathBuf::from("/run/x")));
    }
}
