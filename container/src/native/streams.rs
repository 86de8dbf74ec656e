//! The streams of a Linux program.

use std::fs;
use std::os::unix::fs::MetadataExt;

use trireme_core::spec::oci;

use crate::{Doing, SysError};

/// Programs open `/dev/stdout` and its like anew, which needs the permission to
/// open the file behind it. As runc has it (`fixStdioPermissions`).
pub fn give_streams(user: &oci::User) -> Result<(), SysError> {
    let null = fs::metadata("/dev/null").doing(|| "look at /dev/null".into())?;
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let what = || format!("give the streams to user {}", user.uid());
        let stat = rustix::fs::fstat(stream).doing(what)?;
        if stat.st_rdev == null.rdev() || stat.st_uid == user.uid() {
            continue;
        }
        let owner = rustix::fs::Uid::from_raw(user.uid());
        match rustix::fs::fchown(stream, Some(owner), None) {
            // Of a file system that has no owners to change.
            Err(rustix::io::Errno::PERM | rustix::io::Errno::ROFS | rustix::io::Errno::INVAL) => {}
            other => other.doing(what)?,
        }
    }
    Ok(())
}
