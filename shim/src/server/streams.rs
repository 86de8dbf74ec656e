//! The standard streams of a process while it is spawned and afterwards.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use trireme_container::logger::Binary;
use trireme_container::stdio::{self, Streams, Terminal as Pty};
use trireme_core::plan::TerminalSize;

use super::error::ServiceError;
use super::logger::{Logger, Whose};
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
pub(super) struct GuestStreams {
    ends: Ends,
    logger: Option<Logger>,
}

enum Ends {
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
    /// The logging binary that takes the output.
    pub logger: Option<Logger>,
}

impl GuestStreams {
    /// Opens the streams, or a terminal of this size for them.
    pub async fn open(
        names: &StreamNames,
        terminal: Option<Option<TerminalSize>>,
        whose: &Whose<'_>,
    ) -> Result<Self, ServiceError> {
        let StreamNames {
            stdin,
            stdout,
            stderr,
            ..
        } = names;
        let (logger, outputs) = match Binary::of(stdout, stderr)? {
            Some(binary) => {
                let (logger, outputs) = Logger::start(&binary, whose).await?;
                (Some(logger), Some(outputs))
            }
            None => (None, None),
        };
        let ends = match (terminal, outputs) {
            (None, None) => Ends::Plain(Streams::open(stdin, stdout, stderr)?),
            (None, Some(outputs)) => Ends::Plain(Streams::with_outputs(stdin, outputs)?),
            (Some(size), outputs) => {
                let pty = Pty::open(size)?;
                let client = match outputs {
                    None => Client::open(stdin, stdout)?,
                    Some([output, _]) => Client::with_output(stdin, output)?,
                };
                Ends::Terminal { pty, client, size }
            }
        };
        Ok(GuestStreams { ends, logger })
    }

    /// Whether they are a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self.ends, Ends::Terminal { .. })
    }

    /// The descriptors to hand on.
    pub fn borrow(&self) -> [BorrowedFd<'_>; 3] {
        match &self.ends {
            Ends::Plain(streams) => streams.borrow(),
            Ends::Terminal { pty, .. } => [pty.slave.as_fd(); 3],
        }
    }

    /// Lets go of the guest's ends: a client waits for the last of them. From
    /// here on the bytes of a terminal move.
    pub fn handed_over(self) -> Result<ServerStreams, ServiceError> {
        match self.ends {
            Ends::Plain(streams) => Ok(ServerStreams {
                hold: streams.hold,
                outputs: streams.outputs,
                terminal: None,
                logger: self.logger,
            }),
            Ends::Terminal { pty, client, .. } => terminal(pty.master, client, self.logger),
        }
    }

    /// The same, where the container may have made a terminal in its own tree.
    pub fn handed_over_to(self, master: Option<OwnedFd>) -> Result<ServerStreams, ServiceError> {
        let GuestStreams { ends, logger } = self;
        match (ends, master) {
            (Ends::Terminal { client, size, .. }, Some(master)) => {
                if let Some(size) = size {
                    stdio::resize(master.as_fd(), size)?;
                }
                terminal(master, client, logger)
            }
            (ends, _) => GuestStreams { ends, logger }.handed_over(),
        }
    }
}

fn terminal(
    master: OwnedFd,
    client: Client,
    logger: Option<Logger>,
) -> Result<ServerStreams, ServiceError> {
    Ok(ServerStreams {
        hold: None,
        outputs: Vec::new(),
        terminal: Some(Terminal::new(master, client)?),
        logger,
    })
}
