//! The standard streams of a process while it is spawned and afterwards.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use trireme_container::stdio::{self, Streams, Terminal as Pty};
use trireme_core::plan::TerminalSize;

use super::error::ServiceError;
use super::terminal::{Client, Terminal};

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
    Terminal {
        pty: Pty,
        client: Client,
        size: Option<TerminalSize>,
    },
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
                let client = Client::open(&names.stdin, &names.stdout)?;
                Ok(GuestStreams::Terminal { pty, client, size })
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

    /// Lets go of the guest's ends: a client waits for the last of them. From
    /// here on the bytes of a terminal move.
    pub fn handed_over(self) -> Result<ServerStreams, ServiceError> {
        match self {
            GuestStreams::Plain(streams) => Ok(ServerStreams {
                hold: streams.hold,
                outputs: streams.outputs,
                terminal: None,
            }),
            GuestStreams::Terminal { pty, client, .. } => terminal(pty.master, client),
        }
    }

    /// The same, where the container may have made a terminal in its own tree.
    pub fn handed_over_to(self, master: Option<OwnedFd>) -> Result<ServerStreams, ServiceError> {
        match (self, master) {
            (GuestStreams::Terminal { client, size, .. }, Some(master)) => {
                if let Some(size) = size {
                    stdio::resize(master.as_fd(), size)?;
                }
                terminal(master, client)
            }
            (streams, _) => streams.handed_over(),
        }
    }
}

fn terminal(master: OwnedFd, client: Client) -> Result<ServerStreams, ServiceError> {
    Ok(ServerStreams {
        hold: None,
        outputs: Vec::new(),
        terminal: Some(Terminal::new(master, client)?),
    })
}
