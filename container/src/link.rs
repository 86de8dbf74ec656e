//! What the server says to the processes it spawns, and what they answer.
//!
//! One `SOCK_SEQPACKET` socket a process: a packet is one message in JSON,
//! with at most one descriptor beside it; with some more for a zygote, and for a process that
//! gets its streams late. The end of the other side is the end of the conversation.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trireme_core::cache::FileIdentity;
use trireme_engine::Kind;

/// The largest message, in bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// The most descriptors beside a message.
pub const MAX_FDS: usize = 8;

/// What init tells the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// Namespaces and mounts are there, and hooks may run; it goes on when told.
    Built,
    /// The program is open (its descriptor comes along): which kind it is, and
    /// its identity unless there is none to trust.
    Program {
        /// Module or component.
        kind: Kind,
        /// What the server may know it by.
        identity: Option<FileIdentity>,
    },
    /// The entry point names no file of the container's tree. Init goes on when
    /// it is told of another.
    Missing {
        /// What to say if there is none.
        message: String,
    },
    /// The entry point is a Linux program, for which there is no engine. Init
    /// ends.
    Native,
    /// What is executed beside init goes on in a copy in its pid namespace, whose pidfd comes along.
    Born {
        /// The copy's pid in the server's pid namespace.
        pid: i32,
    },
    /// Everything is set up; the guest waits to be started.
    Ready,
    /// It cannot be set up.
    Failed {
        /// Why.
        message: String,
    },
}

/// What a process says that may go on in a copy of itself.
pub trait Word: DeserializeOwned {
    /// The pid of a copy that it tells of.
    fn born(&self) -> Option<i32>;
}

impl Word for FromInit {
    fn born(&self) -> Option<i32> {
        match self {
            FromInit::Born { pid } => Some(*pid),
            _ => None,
        }
    }
}

/// What the server tells init.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// The container's cgroup is there, with its limits.
    Cgroup,
    /// To a process that was made before its Create came: the descriptor that comes along is a
    /// file with the [`InitOrder`], by its specification. Not to be acted on before
    /// [`ToInit::Order`].
    Plan,
    /// To such a process: the standard streams come along, and before them, unless `root` is what is
    /// left to know after [`ToInit::Plan`], a file with the [`InitOrder`].
    Order {
        /// Whether the streams are a terminal, to become the controlling one.
        terminal: bool,
        /// What the root file system is made of.
        root: Option<Vec<trireme_core::plan::Mount>>,
    },
    /// The hooks that had to run first have run.
    Proceed,
    /// The program was found elsewhere; its code follows.
    Elsewhere {
        /// Module or component.
        kind: Kind,
        /// What it is called there.
        title: Option<String>,
    },
    /// The precompiled code is the descriptor that comes along.
    Code,
    /// The mount namespace to join is the descriptor that comes along.
    Tree,
    /// Let the guest run.
    Start,
}

/// What a compiler tells the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCompiler {
    /// SHA-256 of the bytes it has copied, in hexadecimal. It goes on when told.
    Hashed {
        /// The digest.
        wasm: String,
    },
    /// It holds the lock of the key.
    Locked,
    /// The code is in the descriptor that comes along.
    Compiled,
    /// The program cannot be compiled.
    Failed {
        /// Why.
        message: String,
    },
}

/// What the server tells a compiler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCompiler {
    /// Take the lock whose file comes along, and say so.
    Lock,
    /// Compile.
    Compile,
}

/// What a process of a container finds in its file, before anything else is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstOrder {
    /// The files by which it joins its cgroups.
    pub cgroup: Vec<std::path::PathBuf>,
    /// Whether those are still being made: it then waits to be told.
    pub cgroup_later: bool,
    /// What it is to do then. Where nobody knows yet, it waits for [`ToInit::Order`].
    pub rest: Option<Box<InitOrder>>,
    /// The engine that it may set up while it waits for that.
    pub engine: Option<trireme_core::request::EngineChoice>,
}

/// What init is to do in its cgroup. What it does not know it must not leave undone: server and
/// executor may be of two builds while they are installed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitOrder {
    /// The container.
    pub plan: trireme_core::plan::Plan,
    /// The system call filter of its specification.
    pub filter: Option<crate::filter::Filter>,
    /// Whether the container's network namespace has been made: it comes along as the
    /// [subject](crate::process::SUBJECT_FD).
    pub network: bool,
    /// Whether hooks have to run once the container's tree is built: init then
    /// waits to be told.
    pub hooks: bool,
    /// Whether init is only to tell a Linux program from a guest, since no guest
    /// can be given what the specification asks.
    pub look: bool,
    /// Whether the standard streams of what is executed beside init are a terminal, to become the
    /// controlling one.
    pub terminal: bool,
}

/// What a compiler is to do, before anything else is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompileOrder {
    /// The engine.
    pub engine: trireme_core::request::EngineChoice,
    /// Module or component.
    pub kind: Kind,
    /// The files by which the compiler joins its cgroup.
    pub cgroup: Vec<std::path::PathBuf>,
}

/// One end of a conversation.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Two ends, both closed on exec.
    ///
    /// # Errors
    ///
    /// When the kernel has no socket to give.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Link(a), Link(b)))
    }

    /// Sends a message, with a descriptor or without.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the other side is gone; `InvalidInput` for a message
    /// that is too large.
    pub fn send<T: Serialize>(&self, message: &T, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.send_all(message, fd.as_slice())
    }

    /// Sends a message with up to [`MAX_FDS`] descriptors.
    ///
    /// # Errors
    ///
    /// As [`Link::send`].
    pub fn send_all<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "message too large",
            ));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many descriptors",
            ));
        }
        rustix::net::sendmsg(
            &self.0,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// Waits for a message. `None` when the other side is gone.
    ///
    /// # Errors
    ///
    /// `WouldBlock` on a non-blocking link without a message; `InvalidData`
    /// for what is no message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let received = self.receive_all()?;
        Ok(received.map(|(message, fds)| (message, fds.into_iter().next())))
    }

    /// Waits for a message and all descriptors beside it.
    ///
    /// # Errors
    ///
    /// As [`Link::receive`].
    pub(crate) fn receive_all<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        let mut bytes = vec![0; length.min(MAX_MESSAGE)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let result = rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            match result {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                other => break other?,
            }
        };
        let fds = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds = fds.flatten().collect();
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "message too large",
            ));
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other(
                "a descriptor was lost on its way: too many open files",
            ));
        }
        Ok(Some((
            serde_json::from_slice(&bytes[..received.bytes])?,
            fds,
        )))
    }

    /// Waits for a message and returns its length; `None` when the other side is gone. A
    /// buffer for the largest would cost every copy of a zygote its own pages.
    fn length(&self) -> io::Result<Option<usize>> {
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
        loop {
            // By recvmsg(2), which a guest's filter has to allow in any case.
            let mut none = RecvAncillaryBuffer::default();
            let seen = rustix::net::recvmsg(&self.0, &mut [], &mut none, flags);
            // The other side may have ended with something of ours unread. That is said
            // once; what it had to say before is still to come.
            match seen {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                other => return Ok(Some(other?.bytes).filter(|length| *length > 0)),
            }
        }
    }

    /// Makes [`Link::receive`] return instead of wait.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.0, true)?)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Link {
    fn from(fd: OwnedFd) -> Self {
        Link(fd)
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> Self {
        link.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use trireme_core::memory_file::sealed_json;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptor() {
        let (here, there) = Link::pair().unwrap();
        let mut memory = sealed_json("test", &"inside").unwrap();
        here.send(&ToInit::Code, Some(memory.as_fd())).unwrap();
        let (message, fd) = there.receive::<ToInit>().unwrap().unwrap();
        assert_eq!(message, ToInit::Code);
        let mut text = String::new();
        File::from(fd.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "\"inside\"");
        assert!(io::Write::write(&mut memory, b"x").is_err(), "it is sealed");
    }

    #[test]
    fn the_end_of_one_side_is_seen_by_the_other() {
        let (here, there) = Link::pair().unwrap();
        drop(here);
        assert!(there.receive::<ToInit>().unwrap().is_none());
        let gone = there.send(&ToInit::Start, None).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_last_words_arrive_even_from_one_that_did_not_listen() {
        let (here, there) = Link::pair().unwrap();
        here.send(&ToInit::Code, None).unwrap();
        let message = "no way".to_owned();
        there.send(&FromInit::Failed { message }, None).unwrap();
        drop(there);
        let (last, _) = here.receive::<FromInit>().unwrap().unwrap();
        assert!(matches!(last, FromInit::Failed { .. }), "{last:?}");
        assert!(here.receive::<FromInit>().unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (here, there) = Link::pair().unwrap();
        here.send(&"nonsense", None).unwrap();
        let error = there.receive::<ToInit>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
