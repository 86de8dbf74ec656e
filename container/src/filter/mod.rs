//! The system call filter of the OCI specification ("Seccomp" in `config-linux.md`).
//!
//! The server makes it of a container's profile, which takes 10 to 20 milliseconds for one that
//! lists the calls of three architectures, and keeps it for the next container with that profile.
//! A process installs it.

#[cfg(feature = "native")]
mod compile;
#[cfg(feature = "native")]
mod newer;

#[cfg(feature = "native")]
pub use compile::FilterError;

use std::io;

use serde::{Deserialize, Serialize};

use crate::{Doing, SysError};

/// A filter as the kernel takes it (`SECCOMP_SET_MODE_FILTER` in seccomp(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// `SECCOMP_FILTER_FLAG_*`.
    flags: libc::c_uint,
    /// The instructions of classic BPF, each a `struct sock_filter`, whose bytes are this
    /// number's on this machine.
    program: Vec<u64>,
}

impl Filter {
    /// Installs it on this thread, for good. A thread without `no_new_privs` needs CAP_SYS_ADMIN.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn install(&self) -> Result<(), SysError> {
        let what = || "seccomp: install the filter".to_owned();
        let mut program: Vec<_> = self.program.iter().copied().map(instruction).collect();
        let program = libc::sock_fprog {
            len: u16::try_from(program.len())
                .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
                .doing(what)?,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: `program` names as many instructions as it says, and both outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                self.flags,
                &raw const program,
            )
        };
        match result {
            0 => Ok(()),
            // With `SECCOMP_FILTER_FLAG_TSYNC`, the id of a thread that does not follow.
            1.. => Err(io::Error::other("another thread has another filter")),
            _ => Err(io::Error::last_os_error()),
        }
        .doing(what)
    }
}

fn instruction(bytes: u64) -> libc::sock_filter {
    let [code @ .., jump_true, jump_false, k0, k1, k2, k3] = bytes.to_ne_bytes();
    libc::sock_filter {
        code: u16::from_ne_bytes(code),
        jt: jump_true,
        jf: jump_false,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    }
}

/// The number of an instruction: its code, by how many it jumps where its test holds and where not,
/// and its constant.
#[cfg(feature = "native")]
fn number(code: u32, [jump_true, jump_false]: [u8; 2], constant: u32) -> u64 {
    let [code0, code1] = (code as u16).to_ne_bytes();
    let [k0, k1, k2, k3] = constant.to_ne_bytes();
    u64::from_ne_bytes([code0, code1, jump_true, jump_false, k0, k1, k2, k3])
}
