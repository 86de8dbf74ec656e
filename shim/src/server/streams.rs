//! The standard streams of a process while it is spawned and afterwards.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use trireme_container::stdio::{Streams, Terminal as Pty};
use trireme_core::plan::TerminalSize;

use super::error::ServiceError;
use super::terminal::Terminal;

/// The streams as the client named them.
#[derive(Clone, Debug, Default)]
pub struct StreamNames {
    /// Standard input.
    pub stdin: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether they are one terminal.
    pub terminal: bool,
}

/// The streams while the process is spawned.
pub(super) enum GuestStreams {
    Plain(Streams),
    Terminal { pty: Pty, terminal: Terminal },
}

/// What the server keeps of them.
pub(super) struct ServerStreams {
    /// Keeps standard input from ending.
    pub hold: Option<OwnedFd>,
    /// The outputs that are FIFOs.
    pub outputs: Vec<OwnedFd>,
    /// The server's side of the terminal.
    pub terminal: Option<Terminal>,
}

impl GuestStreams {
    /// Opens the streams, or a terminal of this size for them.
    pub fn open(
        names: &StreamNames,
        terminal: Option<Option<TerminalSize>>,
    ) -> Result<Self, ServiceError> {
        match terminal {
            None => Ok(GuestStreams::Plain(Streams::open(
                &names.stdin,
                &names.stdout,
                &names.stderr,
            )?)),
            Some(size) => {
                let pty = Pty::open(size)?;
                let terminal = Terminal::new(&pty, &names.stdin, &names.stdout)?;
                Ok(GuestStreams::Terminal { pty, terminal })
            }
        }
    }

    /// Whether they are a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self, GuestStreams::Terminal { .. })
    }

    /// The descriptors to hand on.
    pub fn borrow(&self) -> [BorrowedFd<'_>; 3] {
        match self {
            GuestStreams::Plain(streams) => streams.borrow(),
            GuestStreams::Terminal { pty, .. } => [pty.slave.as_fd(); 3],
        }
    }

    /// Lets go of the guest's ends: a client waits for the last of them.
    pub fn handed_over(self) -> ServerStreams {
        match self {
            GuestStreams::Plain(streams) => ServerStreams {
                hold: streams.hold,
                outputs: streams.outputs,
                terminal: None,
            },
            GuestStreams::Terminal { terminal, .. } => ServerStreams {
                hold: None,
                outputs: Vec::new(),
                terminal: Some(terminal),
            },
        }
    }
}
