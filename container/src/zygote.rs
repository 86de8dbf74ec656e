//! The fork door: a process that is ready to become others.
//!
//! A zygote is `trireme-executor zygote`, a child of a server that has many
//! containers of one engine. It holds that engine with its settings, and nothing
//! else: one thread, no module, no specification, no WASI context, no random
//! number that a guest will see. On the server's word ([`Spawn::ask`]) it makes a copy of
//! itself ([`serve`]), a child of the server's like one that was spawned, in the
//! same namespaces and with the same descriptors. What the copy then does is what
//! `trireme-executor init` or `exec` does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

use crate::link::Link;
use crate::process::{self, Birthplace, Child, DESCRIPTORS, Spawn};
use crate::sys::{self, Cloned, Parent};
use crate::{Doing, SysError};

/// What a copy becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A container's first process.
    Init,
    /// A guest beside it.
    Exec,
}

/// What a server asks of its zygote: one copy. The descriptors come along, in the
/// order of [`Spawn::descriptors`], then the two that are told here.
#[derive(Debug, Serialize, Deserialize)]
struct ForkOrder {
    role: Role,
    terminal: bool,
    new_namespaces: i32,
    /// Whether there is a subject.
    subject: bool,
    /// Whether there is a pid namespace to be born in.
    pid_namespace: bool,
    /// Whether there is a unified cgroup to be born in.
    cgroup: bool,
}

/// What a zygote tells its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromZygote {
    /// The engine is there.
    Ready,
    /// There can be no zygote.
    Failed {
        /// Why.
        message: String,
    },
    /// A copy is made; its pidfd comes along.
    Born {
        /// Its pid in the server's pid namespace.
        pid: i32,
    },
    /// The kernel refuses a copy.
    Refused {
        /// What was being done.
        what: String,
        /// Its answer, a number of errno(3).
        errno: i32,
    },
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The kernel refuses it, as it would refuse to spawn one.
    #[error(transparent)]
    Refused(#[from] SysError),
    /// The zygote was gone before it was asked: the process can be spawned instead.
    #[error("the zygote is gone: {0}")]
    Gone(io::Error),
    /// The zygote was asked and does not answer. There may be a copy, which has the
    /// descriptors: what they are must not be given to another process.
    #[error("the zygote does not answer: {0}")]
    Lost(io::Error),
}

/// What a link gives: a message with its descriptor, or nothing at its end.
type Received = io::Result<Option<(FromZygote, Option<OwnedFd>)>>;

/// What a zygote has answered to [`Spawn::ask`].
///
/// # Errors
///
/// [`ForkError::Refused`] is the kernel's word; after [`ForkError::Lost`] the zygote is of no
/// more use.
pub fn copy_of(answer: Received) -> Result<Child, ForkError> {
    let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "it has ended");
    let answer = answer.and_then(|answer| answer.ok_or_else(ended));
    match answer.map_err(ForkError::Lost)? {
        (FromZygote::Born { pid }, Some(pidfd)) => Ok(Child::new(pid, pidfd)),
        (FromZygote::Refused { what, errno }, _) => Err(ForkError::Refused(SysError {
            what,
            source: io::Error::from_raw_os_error(errno),
        })),
        (other, _) => Err(ForkError::Lost(io::Error::other(format!(
            "an unexpected answer: {other:?}"
        )))),
    }
}

impl Spawn<'_> {
    /// Asks a zygote to make the process; [`copy_of`] reads its answer. The process dies when
    /// the thread does that spawned the zygote.
    ///
    /// # Errors
    ///
    /// When the zygote is gone, which has made no copy then.
    pub fn ask(&self, zygote: &Link, role: Role) -> Result<(), ForkError> {
        let order = ForkOrder {
            role,
            terminal: self.terminal,
            new_namespaces: self.new_namespaces,
            subject: self.subject.is_some(),
            pid_namespace: self.pid_namespace.is_some(),
            cgroup: self.cgroup.is_some(),
        };
        let more = [self.pid_namespace, self.cgroup];
        let descriptors: Vec<_> = self
            .descriptors()
            .into_iter()
            .chain(more)
            .flatten()
            .collect();
        zygote
            .send_all(&order, &descriptors)
            .map_err(ForkError::Gone)
    }
}

/// Makes copies of this process as it is told. Returns the role in each of them,
/// whose descriptors are then those of a spawned process, beside others to be closed;
/// and `None` in the zygote when the server has hung up.
///
/// # Errors
///
/// When the link cannot be read or written.
///
/// # Safety
///
/// This process has one thread. In a copy, whatever owns a descriptor in the zygote,
/// the link included, must be forgotten: its number is another's.
pub unsafe fn serve(link: &Link) -> io::Result<Option<Role>> {
    while let Some((order, descriptors)) = link.receive_all::<ForkOrder>()? {
        let Some(given) = Given::new(&order, &descriptors) else {
            let message = "not all descriptors came along".to_owned();
            link.send(&FromZygote::Failed { message }, None)?;
            continue;
        };
        // SAFETY: as the caller says.
        match unsafe { copy(&order, &given) } {
            Ok(Cloned::Child) => {
                let places = given.places;
                // Their numbers may be those of the places.
                std::mem::forget(descriptors);
                // SAFETY: this is the child, and the caller's word on the rest.
                unsafe { process::settle(&places, order.terminal) };
                return Ok(Some(order.role));
            }
            Ok(Cloned::Parent { pid, pidfd }) => {
                link.send(&FromZygote::Born { pid }, Some(pidfd.as_fd()))?;
            }
            Err(SysError { what, source }) => {
                let errno = source.raw_os_error().unwrap_or(libc::EINVAL);
                link.send(&FromZygote::Refused { what, errno }, None)?;
            }
        }
    }
    Ok(None)
}

/// Makes a copy of this process.
///
/// # Safety
///
/// As [`serve`].
unsafe fn copy(order: &ForkOrder, given: &Given<'_>) -> Result<Cloned, SysError> {
    let birthplace = Birthplace::set(given.pid_namespace)?;
    // SAFETY: there is one thread, so that the copy may do anything.
    let cloned = unsafe { sys::clone3(Parent::Own, order.new_namespaces, given.cgroup) };
    if matches!(cloned, Ok(Cloned::Child)) {
        // There is no way back, and the descriptor goes with all others.
        std::mem::forget(birthplace);
    } else {
        birthplace.reset()?;
    }
    cloned.doing(|| "copy the zygote into new namespaces".into())
}

/// The descriptors of an order.
struct Given<'a> {
    places: [RawFd; DESCRIPTORS],
    pid_namespace: Option<BorrowedFd<'a>>,
    cgroup: Option<BorrowedFd<'a>>,
}

impl<'a> Given<'a> {
    fn new(order: &ForkOrder, descriptors: &'a [OwnedFd]) -> Option<Self> {
        const ALWAYS: usize = DESCRIPTORS - 1;
        let wanted = [order.subject, order.pid_namespace, order.cgroup];
        let wanted = wanted.iter().filter(|is_wanted| **is_wanted).count();
        if descriptors.len() != ALWAYS + wanted {
            return None;
        }
        let (first, more) = descriptors.split_at(ALWAYS);
        let mut places = [-1; DESCRIPTORS];
        for (place, fd) in places.iter_mut().zip(first) {
            *place = fd.as_raw_fd();
        }
        let mut more = more.iter();
        let mut next = |is_wanted| if is_wanted { more.next() } else { None };
        if let Some(subject) = next(order.subject) {
            places[ALWAYS] = subject.as_raw_fd();
        }
        Some(Given {
            places,
            pid_namespace: next(order.pid_namespace).map(AsFd::as_fd),
            cgroup: next(order.cgroup).map(AsFd::as_fd),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::thread;

    use rustix::process::PidfdFlags;

    use super::*;

    fn null() -> File {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
    }

    /// Asks for a copy, and has `zygote` answer.
    fn fork(
        with_subject: bool,
        zygote: impl FnOnce(Link, ForkOrder, Vec<OwnedFd>) + Send + 'static,
    ) -> Result<Child, ForkError> {
        let (here, there) = Link::pair().unwrap();
        let at_work = thread::spawn(move || {
            let (order, descriptors) = there.receive_all().unwrap().unwrap();
            zygote(there, order, descriptors);
        });
        let made = ask(&here, with_subject);
        at_work.join().unwrap();
        made
    }

    fn ask(zygote: &Link, with_subject: bool) -> Result<Child, ForkError> {
        let null = null();
        let spawn = Spawn {
            executor: Path::new("/nonexistent"),
            name: process::EXECUTOR,
            verb: c"init",
            stdio: [null.as_fd(); 3],
            terminal: false,
            link: null.as_fd(),
            plan: null.as_fd(),
            subject: with_subject.then(|| null.as_fd()),
            new_namespaces: libc::CLONE_NEWUTS,
            pid_namespace: None,
            cgroup: with_subject.then(|| null.as_fd()),
        };
        spawn.ask(zygote, Role::Init)?;
        copy_of(zygote.receive())
    }

    #[test]
    fn a_copy_is_known_by_its_pidfd() {
        let child = fork(true, |link, order, descriptors| {
            assert_eq!(order.new_namespaces, libc::CLONE_NEWUTS);
            let given = Given::new(&order, &descriptors).unwrap();
            assert!(given.places.iter().all(|place| *place >= 0));
            assert!(given.cgroup.is_some() && given.pid_namespace.is_none());
            // This process stands for the copy.
            let pid = rustix::process::getpid();
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
            let pid = pid.as_raw_pid();
            link.send(&FromZygote::Born { pid }, Some(pidfd.as_fd()))
                .unwrap();
        })
        .unwrap();
        assert_eq!(child.pid as u32, std::process::id());
        let path = format!("/proc/self/fdinfo/{}", child.pidfd.as_raw_fd());
        let info = std::fs::read_to_string(path).unwrap();
        let line = format!("Pid:\t{}", child.pid);
        assert!(info.lines().any(|known| known == line), "{info}");
    }

    #[test]
    fn the_kernels_refusal_is_told_as_its_own() {
        let refused = fork(false, |link, order, descriptors| {
            let given = Given::new(&order, &descriptors).unwrap();
            assert_eq!(given.places[process::SUBJECT_FD as usize], -1);
            let (what, errno) = ("copy".to_owned(), libc::ENOSPC);
            link.send(&FromZygote::Refused { what, errno }, None)
                .unwrap();
        });
        let Err(ForkError::Refused(error)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(error.source.raw_os_error(), Some(libc::ENOSPC));
    }

    #[test]
    fn a_zygote_that_dies_when_it_was_asked_is_lost() {
        let lost = fork(false, |link, _, _| drop(link));
        assert!(matches!(lost, Err(ForkError::Lost(_))), "{lost:?}");
    }

    #[test]
    fn a_zygote_that_was_dead_has_made_no_copy() {
        let (here, there) = Link::pair().unwrap();
        drop(there);
        let gone = ask(&here, false);
        assert!(matches!(gone, Err(ForkError::Gone(_))), "{gone:?}");
    }

    #[test]
    fn descriptors_that_do_not_come_along_are_missed() {
        let refused = fork(true, |link, order, mut descriptors| {
            descriptors.pop();
            assert!(Given::new(&order, &descriptors).is_none());
            drop(link);
        });
        assert!(refused.is_err());
    }
}
