//! Processes that the server spawns: init, what is executed beside it, and
//! compilers.

mod birth;
mod children;
mod failure;
mod handle;

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use trireme_core::plan::mounts::{Attributes, attr};
use trireme_core::plan::{NamespaceKind, Namespaces};

pub use self::birth::Cradle;
pub(crate) use self::children::{all as children, is_held};
pub use self::children::{reap_stranger, strangers};
use self::failure::Failure;
pub use self::handle::{Child, ProcessId, kill, kill_now};
use crate::init::mounting;
use crate::sys::{self, Cloned, Parent};
use crate::{Doing, SysError, open_files};

/// The descriptor of the link in a spawned process.
pub const LINK_FD: RawFd = 3;
/// The descriptor of the plan or order in a spawned process.
pub const PLAN_FD: RawFd = 4;
/// The descriptor of what a spawned process works on: in a compiler the
/// program, in an init the network namespace to join if there is one already, in a
/// process that is executed beside an init that init.
pub const SUBJECT_FD: RawFd = 5;

/// How many descriptors a spawned process may be given.
pub(crate) const DESCRIPTORS: usize = SUBJECT_FD as usize + 1;

/// The name of the program that runs guests and compiles them.
pub const EXECUTOR: &CStr = c"trireme-executor";

/// A process to spawn: `executor` with a verb, a link and a plan.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The program.
    pub executor: &'a Path,
    /// What it is told that its own name is.
    pub name: &'a CStr,
    /// Its verb, the only argument.
    pub verb: &'a CStr,
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Whether they are a terminal, to become the controlling one.
    pub terminal: bool,
    /// Its end of the link.
    pub link: BorrowedFd<'a>,
    /// Its plan.
    pub plan: BorrowedFd<'a>,
    /// What it works on: the program to compile, the init to join, or the network namespace of
    /// an init.
    pub subject: Option<BorrowedFd<'a>>,
    /// Flags of `clone(2)` for new namespaces.
    pub new_namespaces: i32,
    /// A pid namespace to be born in, or a process whose it is.
    pub pid_namespace: Option<BorrowedFd<'a>>,
    /// The unified cgroup to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// The flags of `clone(2)` with which a container's init is made. The cgroup
/// namespace is made later, by init, when it is in its cgroup.
pub fn new_namespaces(namespaces: &Namespaces) -> i32 {
    [
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
    ]
    .into_iter()
    .filter(|kind| namespaces.is_new(*kind))
    .fold(0, |flags, kind| flags | kind.flag())
}

/// A program of the host as it may be run inside a container, or a folder of files
/// that are handed to a process there: one could else be opened anew for writing by
/// way of `/proc/<pid>` (CVE-2019-5736). It is used by its number below
/// `/proc/self/fd`.
///
/// # Errors
///
/// When it is not there.
pub fn open_read_only(program: &Path) -> Result<OwnedFd, SysError> {
    let what = || format!("open {}", program.display());
    let file = mounting::clone_tree(program, false).doing(what)?;
    let attributes = Attributes {
        set: attr::RDONLY,
        // Programs are run, and code is mapped, whatever the host says of what else lies there.
        clear: attr::NOEXEC,
    };
    sys::mount_setattr(file.as_fd(), attributes, 0, false).doing(what)?;
    Ok(file)
}

/// The flags of `clone(2)` with which a helper is made that mounts for itself.
pub fn new_mounts() -> i32 {
    NamespaceKind::Mount.flag()
}

impl Spawn<'_> {
    /// Spawns the process. It dies when the calling *thread* does.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the process, its namespaces or the program.
    pub fn spawn(&self) -> Result<Child, SysError> {
        let path = CString::new(self.executor.as_os_str().as_bytes())
            .map_err(io::Error::from)
            .doing(|| format!("start {}", self.executor.display()))?;
        let argv = [self.name.as_ptr(), self.verb.as_ptr(), std::ptr::null()];
        let envp: [*const libc::c_char; 1] = [std::ptr::null()];
        let descriptors = self
            .descriptors()
            .map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd()));
        let failure = Failure::of(self.name);
        let birthplace = Birthplace::set(self.pid_namespace)?;
        // SAFETY: the child calls only functions that are async-signal-safe:
        // those of `settle`, setrlimit, prctl, execve, write and _exit, on memory that was
        // made before the clone.
        let cloned = unsafe {
            match sys::clone3(Parent::This, self.new_namespaces, self.cgroup) {
                Ok(Cloned::Child) => {
                    child(&descriptors, self.terminal, &path, &argv, &envp, failure)
                }
                Ok(Cloned::Parent { pid, pidfd }) => Ok(Child::new(pid, pidfd)),
                Err(error) => Err(error),
            }
        };
        birthplace.reset()?;
        cloned.doing(|| format!("start {} in new namespaces", self.executor.display()))
    }

    /// What the process finds at its descriptors, in their order.
    pub(crate) fn descriptors(&self) -> [Option<BorrowedFd<'_>>; DESCRIPTORS] {
        let [input, output, error] = self.stdio.map(Some);
        let (link, plan) = (Some(self.link), Some(self.plan));
        [input, output, error, link, plan, self.subject]
    }
}

/// Where the next children of this process are born, if not in its own pid namespace.
pub(crate) struct Birthplace {
    own: Option<fs::File>,
}

impl Birthplace {
    /// Has them born in a namespace, if there is one.
    pub(crate) fn set(namespace: Option<BorrowedFd<'_>>) -> Result<Self, SysError> {
        let Some(namespace) = namespace else {
            return Ok(Birthplace { own: None });
        };
        let own = "/proc/self/ns/pid";
        let own = fs::File::open(own).doing(|| format!("open {own}"))?;
        enter_pid_namespace(namespace)?;
        Ok(Birthplace { own: Some(own) })
    }

    /// Has them born here again. In a child there is no way back.
    pub(crate) fn reset(self) -> Result<(), SysError> {
        self.own
            .map_or(Ok(()), |own| enter_pid_namespace(own.as_fd()))
    }
}

fn enter_pid_namespace(namespace: BorrowedFd<'_>) -> Result<(), SysError> {
    // SAFETY: a plain system call on an open descriptor; it changes where the
    // next child is born, and nothing of this process.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) };
    let result = if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    };
    result.doing(|| "enter the pid namespace".into())
}

/// Puts descriptors where a spawned process looks for them (-1 stands for none, and for
/// nothing open there), and gives it a session and signals of its own.
///
/// # Safety
///
/// Only to be called in the child of a clone, where nobody owns the descriptors
/// that are overwritten.
pub(crate) unsafe fn settle(descriptors: &[RawFd; DESCRIPTORS], terminal: bool) {
    // SAFETY: async-signal-safe calls only, on memory of the caller.
    unsafe {
        // The copies stand above every number that is handed out, so that
        // putting one in its place overwrites no other.
        let mut above = [-1; DESCRIPTORS];
        for (copy, from) in above.iter_mut().zip(descriptors) {
            if *from >= 0 {
                *copy = libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, DESCRIPTORS as RawFd);
            }
        }
        for (to, copy) in above.iter().enumerate() {
            if *copy >= 0 {
                libc::dup2(*copy, to as RawFd);
            } else {
                libc::close(to as RawFd);
            }
        }
        libc::setsid();
        if terminal {
            control_terminal();
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Makes the terminal at standard input the controlling one of this process's session.
fn control_terminal() {
    // SAFETY: a plain system call; where it is refused, as for what is no terminal, the process
    // has none.
    unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
}

/// Puts streams in their places in a process that was spawned without.
///
/// # Errors
///
/// The kernel's.
///
/// # Safety
///
/// Nobody owns the descriptors that are overwritten.
pub(crate) unsafe fn take_streams(streams: &[OwnedFd; 3], terminal: bool) -> io::Result<()> {
    for (to, from) in streams.iter().enumerate() {
        // SAFETY: as the caller says.
        if unsafe { libc::dup2(from.as_raw_fd(), to as RawFd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if terminal {
        control_terminal();
    }
    Ok(())
}

/// What the child does between clone and exec. It reports a failure on its
/// link and exits.
///
/// # Safety
///
/// Only to be called in the child of a clone; see [`sys::clone3`].
unsafe fn child(
    descriptors: &[RawFd; DESCRIPTORS],
    terminal: bool,
    path: &CStr,
    argv: &[*const libc::c_char; 3],
    envp: &[*const libc::c_char; 1],
    failure: Failure,
) -> ! {
    // SAFETY: async-signal-safe calls only, on descriptors and memory that the
    // parent made before the clone.
    unsafe {
        settle(descriptors, terminal);
        open_files::restore();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
        // The only thing left to fail.
        let message = failure.message(*libc::__errno_location());
        libc::write(LINK_FD, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitId, WaitIdOptions};

    use super::*;

    #[test]
    fn a_program_opened_read_only_runs_and_cannot_be_written_by_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sleep");
        // By a process of its own: what another test starts meanwhile would inherit the
        // descriptor, and a file that is open for writing cannot be run.
        let mut copy = std::process::Command::new("cp");
        assert!(
            copy.arg("/bin/sleep")
                .arg(&program)
                .status()
                .unwrap()
                .success()
        );
        // A descriptor outlives the process that was run by it.
        let write_after = |path: &Path| {
            let mut child = std::process::Command::new(path)
                .arg("1000")
                .spawn()
                .unwrap();
            let kept = fs::File::open(format!("/proc/{}/exe", child.id())).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            let path = format!("/proc/self/fd/{}", kept.as_raw_fd());
            fs::File::options().write(true).open(path)
        };
        let opened = open_read_only(&program).unwrap();
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let refused = write_after(Path::new(&path)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
        write_after(&program).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_reported_on_the_link() {
        let (here, there) = crate::link::Link::pair().unwrap();
        let null = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let child = Spawn {
            executor: Path::new("/nonexistent/executor"),
            name: EXECUTOR,
            verb: c"init",
            stdio: [null.as_fd(); 3],
            terminal: false,
            link: there.as_fd(),
            plan: null.as_fd(),
            subject: None,
            new_namespaces: 0,
            pid_namespace: None,
            cgroup: None,
        }
        .spawn()
        .unwrap();
        drop(there);
        let (message, _) = here.receive::<crate::link::FromInit>().unwrap().unwrap();
        assert!(
            matches!(message, crate::link::FromInit::Failed { ref message } if message.contains("not installed")),
            "{message:?}"
        );
        let status =
            rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
        assert_eq!(status.unwrap().unwrap().exit_status(), Some(127));
    }
}
