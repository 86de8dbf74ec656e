//! The frames between the users of an emulated machine, its keeper and its agent.
//!
//! A frame is the length of its payload and the number of its command, 4 bytes each, least
//! significant first, a byte that tells what it is, and the payload.

use std::io::{self, Read, Write};

use anyhow::{Context, Result};

/// No payload is longer.
pub const LONGEST: usize = 1 << 20;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The agent is there.
    Hello = 1,
    /// Whether the other side still answers; it sends the same back.
    Ping,
    /// A command to start: see [`Order`].
    Start,
    /// Bytes for its stdin.
    Input,
    /// Its stdin ends.
    EndOfInput,
    /// A signal for it, one byte.
    Signal,
    /// Nobody waits for it any more.
    Abandon,
    /// Bytes of its stdout.
    Output,
    /// Bytes of its stderr.
    Errors,
    /// It ended; one byte, its exit code, 128 + n where signal n ended it.
    Exit,
    /// It could not be run, or its end will never be known; the reason.
    Failed,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Hello,
        Self::Ping,
        Self::Start,
        Self::Input,
        Self::EndOfInput,
        Self::Signal,
        Self::Abandon,
        Self::Output,
        Self::Errors,
        Self::Exit,
        Self::Failed,
    ];

    /// Whether no other frame of its command follows.
    pub fn is_last(self) -> bool {
        matches!(self, Self::Exit | Self::Failed)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The command that it is about; the keeper numbers them.
    pub command: u32,
    /// What it is.
    pub kind: Kind,
    /// What belongs to it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame.
    pub fn new(command: u32, kind: Kind, payload: &[u8]) -> Self {
        Self {
            command,
            kind,
            payload: payload.to_owned(),
        }
    }

    /// Reads one; `None` at the end.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; 9];
        let got = from.read(&mut head)?;
        if got == 0 {
            return Ok(None);
        }
        from.read_exact(&mut head[got..])?;
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, kind) = (number(0) as usize, head[8]);
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        let (Some(kind), true) = (kind, length <= LONGEST) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this is no frame",
            ));
        };
        let mut payload = vec![0; length];
        from.read_exact(&mut payload)?;
        Ok(Some(Self {
            command: number(4),
            kind,
            payload,
        }))
    }

    /// Writes it.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(9 + self.payload.len());
        bytes.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.command.to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&self.payload);
        to.write_all(&bytes)
    }
}

/// A command to run in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Where, if there is such a folder.
    pub folder: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
}

impl Order {
    /// As a payload: strings, each with a zero byte behind it.
    pub fn encode(&self) -> Vec<u8> {
        let count = self.words.len().to_string();
        let pairs = self
            .environment
            .iter()
            .flat_map(|(name, value)| [name, value]);
        let strings = [&self.folder, &count]
            .into_iter()
            .chain(&self.words)
            .chain(pairs);
        strings
            .flat_map(|string| [string.as_bytes(), &[0]].concat())
            .collect()
    }

    /// Reads what [`Order::encode`] made.
    pub fn decode(payload: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(payload).context("an order is text")?;
        let mut strings = text.split_terminator('\0').map(str::to_owned);
        let (folder, count) = (strings.next(), strings.next());
        let count = count.context("an order has a count of words")?.parse()?;
        let words = strings.by_ref().take(count).collect();
        let mut environment = Vec::new();
        while let (Some(name), Some(value)) = (strings.next(), strings.next()) {
            environment.push((name, value));
        }
        Ok(Self {
            folder: folder.unwrap_or_default(),
            words,
            environment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let frames = [
            Frame::new(7, Kind::Output, b"some bytes"),
            Frame::new(u32::MAX, Kind::EndOfInput, b""),
        ];
        let mut bytes = Vec::new();
        frames
            .iter()
            .for_each(|frame| frame.write(&mut bytes).unwrap());
        let mut rest = &bytes[..];
        for frame in frames {
            assert_eq!(Frame::read(&mut rest).unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut rest).unwrap(), None);
    }

    #[test]
    fn a_frame_that_is_cut_off_or_none_is_an_error() {
        let mut bytes = Vec::new();
        Frame::new(1, Kind::Exit, &[3]).write(&mut bytes).unwrap();
        assert!(Frame::read(&mut &bytes[..bytes.len() - 1]).is_err());
        bytes[8] = 99;
        assert!(Frame::read(&mut &bytes[..]).is_err());
    }

    #[test]
    fn an_order_keeps_empty_words() {
        let order = Order {
            folder: "/tmp".into(),
            words: ["sh", "-c", "", "a b"].map(String::from).into(),
            environment: vec![("EMPTY".into(), String::new()), ("A".into(), "b=c".into())],
        };
        assert_eq!(Order::decode(&order.encode()).unwrap(), order);
    }
}
