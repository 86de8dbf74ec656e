//! A process that is in a scope until another one is.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::link::{Link, ToInit};
use crate::process::LINK_FD;

/// Does nothing until the server closes the link, or ends.
///
/// # Errors
///
/// None that means anything: it ends in any case.
pub fn hold() -> io::Result<()> {
    // SAFETY: the server hands this descriptor over by its number; nothing else
    // in this process knows of it.
    let link = Link::from(unsafe { OwnedFd::from_raw_fd(LINK_FD) });
    link.receive::<ToInit>().map(drop)
}
