//! A process that goes on in a copy of itself, in a pid namespace that it was not in.
//!
//! Whoever is in a container's pid namespace and has `CAP_SYS_PTRACE` may look into any other process
//! there: what it has open, its root, its memory. What is executed in a container is made outside
//! of it, joins all its other namespaces, and lets go of what is the host's and of the rights that it
//! will not want. Only then it is born there, as runc has it (`nsexec.c`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::PipeFlags;
use serde::Serialize;

use super::{control_terminal, enter_pid_namespace};
use crate::init::die_with_parent;
use crate::link::Link;
use crate::sys::{self, Cloned, Parent};
use crate::{Doing, SysError, crash};

/// What is said of a copy.
const TOLD: [u8; 1] = [1];

/// A way into the pid namespace of a container's first process, which takes privileges to open and
/// none to go.
#[derive(Debug)]
pub struct Cradle(());

impl Cradle {
    /// Has the next child of this process born beside a first process. There is no way back.
    ///
    /// # Errors
    ///
    /// When that is gone, or the kernel refuses.
    pub fn beside(first: OwnedFd) -> Result<Self, SysError> {
        enter_pid_namespace(first.as_fd())?;
        Ok(Cradle(()))
    }

    /// Goes on in a copy: returns in that, while this process tells the server by `word`, with the
    /// copy's pid and pidfd, and ends. The copy has a session of its own, whose terminal may be
    /// standard input, and dies with the thread of the server that this process would have died with.
    ///
    /// # Errors
    ///
    /// In this process when the kernel refuses a copy, and in a copy of which the server is not told.
    ///
    /// # Safety
    ///
    /// This process has one thread.
    pub unsafe fn be_born<W: Serialize>(
        self,
        link: &Link,
        terminal: bool,
        word: impl FnOnce(i32) -> W,
    ) -> Result<(), SysError> {
        let what = || "be born in the container's pid namespace".to_owned();
        let (told, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(what)?;
        // SAFETY: there is one thread, so that the copy may do anything.
        match unsafe { sys::clone3(Parent::Own, 0, None) }.doing(what)? {
            Cloned::Child => {
                drop(tell);
                die_with_parent()?;
                rustix::process::setsid().doing(what)?;
                if terminal {
                    control_terminal();
                }
                is_told(told).doing(what)
            }
            Cloned::Parent { pid, pidfd } => {
                crash::step("after_birth");
                if link.send(&word(pid), Some(pidfd.as_fd())).is_ok() {
                    let _ = rustix::io::write(&tell, &TOLD);
                }
                // SAFETY: ends this process as it is; all that it was about is the copy's.
                unsafe { libc::_exit(0) }
            }
        }
    }
}

/// Waits until the server is told of this copy. It is nobody's if that does not come.
fn is_told(told: OwnedFd) -> io::Result<()> {
    let mut word = [0; TOLD.len()];
    match rustix::io::retry_on_intr(|| rustix::io::read(&told, &mut word))? {
        0 => Err(io::Error::other("what it is a copy of has ended")),
        _ => Ok(()),
    }
}
