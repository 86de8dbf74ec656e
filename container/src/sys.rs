//! System calls that no crate in use wraps.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use trireme_core::plan::mounts::Attributes;

/// The result of [`clone3`] in parent and child.
pub enum Cloned {
    /// In the parent.
    Parent {
        /// The child's pid.
        pid: i32,
        /// A descriptor that names it for good.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child,
}

/// Whose child a copy of this process is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// This process's.
    This,
    /// That of this process's own parent, which is told of its end by the signal
    /// that this process was made with (`CLONE_PARENT`).
    Own,
}

/// A copy of this process in new namespaces, as fork(2) makes it.
///
/// # Safety
///
/// Where this process has more than one thread, the child may only do what a
/// signal handler may do (`signal-safety(7)`) until it execs or exits: no
/// allocation, no locks, no panic. The handlers of `pthread_atfork(3)` are not
/// called.
pub unsafe fn clone3(
    parent: Parent,
    namespaces: i32,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    // SAFETY: a zeroed clone_args is valid; it is all integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    match parent {
        Parent::This => args.exit_signal = libc::SIGCHLD as u64,
        Parent::Own => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a clone_args of the size given and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent {
            pid: pid as i32,
            // SAFETY: the kernel has just made this descriptor for us.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// `mount_setattr(2)` on an open mount, with or without all mounts below it.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    propagation: u64,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        set: attributes.set,
        clear: attributes.clear,
        propagation,
        userns: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` has the layout and the size given, the path is an empty
    // string, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Joins all namespaces of a process (its pidfd) but its pid and user
/// namespace; its root and working directory become this process's own.
pub fn join_namespaces(process: BorrowedFd<'_>) -> io::Result<()> {
    const KINDS: i32 = libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    // SAFETY: a plain system call on an open descriptor, without memory.
    match unsafe { libc::setns(process.as_raw_fd(), KINDS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Joins a mount namespace; its root becomes this process's root and working
/// directory.
pub fn join_mounts(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a plain system call on an open descriptor, without memory.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed; the caller owns no descriptor from `first`
    // on, which is what closing them asks for.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings a network interface of this namespace up.
pub fn interface_up(name: &CStr) -> io::Result<()> {
    // SAFETY: a zeroed ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: plain system calls; `request` is an ifreq with a name that ends
    // in a zero, and `socket` is closed by its owner.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
