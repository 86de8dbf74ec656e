//! Processes that are there already: named for good, sent signals, and reaped.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::children;

/// A process that is named for good: its pid may be used again, its start time
/// may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid in the server's pid namespace.
    pub pid: i32,
    /// When it was started, in clock ticks since boot (`proc_pid_stat(5)`).
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold anything, parentheses included.
        let start_time = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19)?.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable stat"))?;
        Ok(ProcessId { pid, start_time })
    }

    /// A descriptor of the process, or `None` when it is gone.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The pid may have been given away before the descriptor was opened.
        Ok(ProcessId::of(self.pid)
            .ok()
            .filter(|now| *now == self)
            .map(|_| pidfd))
    }
}

/// A child of the server.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the server's pid namespace.
    pub pid: i32,
    /// A descriptor that becomes readable at its end.
    pub pidfd: OwnedFd,
    /// How it has ended, once it is reaped.
    status: OnceLock<u32>,
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.get().is_none() {
            children::let_go(self.pid);
        }
    }
}

impl Child {
    /// The child that has this pid, which nobody has reaped.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn of(pid: i32) -> io::Result<Self> {
        let named = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        let pidfd = rustix::process::pidfd_open(named, PidfdFlags::empty())?;
        Ok(Child::new(pid, pidfd))
    }

    /// The child that a descriptor names, which has this pid.
    pub fn new(pid: i32, pidfd: OwnedFd) -> Self {
        children::hold(pid);
        let status = OnceLock::new();
        Child { pid, pidfd, status }
    }

    /// Sends a signal, given by its number. A process that is gone is no error
    /// here: its end is reported on its own.
    ///
    /// # Errors
    ///
    /// For a number that is no signal.
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        kill(self.pidfd.as_fd(), signal)
    }

    /// Reaps the process if it has ended: its exit code, or 128 + signal. It may be asked again.
    ///
    /// # Errors
    ///
    /// When it is no child of this process.
    pub fn try_wait(&self) -> io::Result<Option<u32>> {
        if let Some(status) = self.status.get() {
            return Ok(Some(*status));
        }
        let status = rustix::process::waitid(
            WaitId::PidFd(self.pidfd.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        )?;
        let status = status.and_then(|status| {
            let code = status.exit_status().map(|code| code as u32);
            code.or_else(|| {
                status
                    .terminating_signal()
                    .map(|signal| 128 + signal as u32)
            })
        });
        Ok(status.map(|status| {
            *self.status.get_or_init(|| {
                // Its pid may be another's from now on.
                children::let_go(self.pid);
                status
            })
        }))
    }
}

/// Sends a signal, given by its number, to an open process.
///
/// # Errors
///
/// For a number that is no signal.
pub fn kill(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a plain system call without memory arguments but a null pointer,
    // which stands for the default information.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        Ok(())
    } else {
        Err(error)
    }
}

/// Sends SIGKILL to an open process; there is nothing to do where it is gone.
pub fn kill_now(pidfd: BorrowedFd<'_>) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let own = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(own.open().unwrap().is_some());
        let other = ProcessId {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(other.open().unwrap().is_none());
    }
}
