//! Programs of the kernel's virtual machine at cgroups (`bpf(2)`,
//! `linux/bpf.h`).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::program::Instruction;

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const PROG_QUERY: i32 = 16;

const TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Several programs at a cgroup, all of which have to agree.
const ALLOW_MULTI: u32 = 2;

const LICENSE: &CStr = c"Apache-2.0";
/// No more programs are at a cgroup than this one leaves there, and one that
/// systemd may add.
const MOST: usize = 64;

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The part that attaches and detaches.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// The part that tells what is attached.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    _padding: u32,
}

/// The part that opens a program.
#[repr(C)]
#[derive(Default)]
struct Open {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Attaches a program to a cgroup, and then detaches those on devices that were
/// there: for a moment both decide.
pub fn replace(cgroup: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let cgroup = cgroup.as_fd();
    let before = attached(cgroup)?;
    attach(cgroup, load(program)?.as_fd())?;
    before.into_iter().try_for_each(|id| detach(cgroup, id))
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut order = Load {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        ..Load::default()
    };
    let name = b"trireme_devices";
    order.prog_name[..name.len()].copy_from_slice(name);
    let fd = call(PROG_LOAD, &mut order)?;
    // SAFETY: the kernel has just made this descriptor for the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut order = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
        ..Attach::default()
    };
    call(PROG_ATTACH, &mut order).map(drop)
}

/// The ids of the programs on devices at a cgroup itself.
fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST];
    let mut order = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST as u32,
        ..Query::default()
    };
    call(PROG_QUERY, &mut order)?;
    Ok(ids[..MOST.min(order.prog_cnt as usize)].to_vec())
}

fn detach(cgroup: BorrowedFd<'_>, id: u32) -> io::Result<()> {
    let mut order = Open {
        prog_id: id,
        ..Open::default()
    };
    let fd = call(PROG_GET_FD_BY_ID, &mut order)?;
    // SAFETY: the kernel has just made this descriptor for the caller.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut order = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        ..Attach::default()
    };
    call(PROG_DETACH, &mut order).map(drop)
}

fn call<T>(command: i32, order: &mut T) -> io::Result<i32> {
    // SAFETY: `order` is the part of `union bpf_attr` that the command takes, no
    // longer than its size says; what it points at outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(order),
            size_of::<T>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        fd => Ok(fd as i32),
    }
}
