//! ttrpc frames (github.com/containerd/ttrpc, PROTOCOL.md): length, stream, type, flags, payload.

use std::io::{Read, Result, Write};

use crate::wire::{Message, find};

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const LIMIT: usize = 4 << 20;

/// A call of a client.
pub struct Request {
    /// Tells the answer which call it is for.
    pub stream: u32,
    /// The method's name, without the service's.
    pub method: String,
    /// The encoded argument.
    pub payload: Vec<u8>,
}

/// Reads the next request; `None` when the client has gone or does not speak ttrpc.
pub fn read(stream: &mut impl Read) -> Option<Request> {
    loop {
        let mut header = [0; 10];
        stream.read_exact(&mut header).ok()?;
        let [length, number] = [0, 4].map(|at| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        });
        let length = length as usize;
        if length > LIMIT {
            return None;
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).ok()?;
        if header[8] == REQUEST {
            let method = String::from_utf8_lossy(find(&message, 2)?).into_owned();
            let payload = find(&message, 3).unwrap_or_default().to_vec();
            return Some(Request {
                stream: number,
                method,
                payload,
            });
        }
    }
}

/// Answers a request.
pub fn write(stream: &mut impl Write, number: u32, answer: Message) -> Result<()> {
    // Field 1, the status, is left out: that is OK.
    let body = Message::default().bytes(2, &answer.0).0;
    let mut frame = Vec::with_capacity(10 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&number.to_be_bytes());
    frame.extend_from_slice(&[RESPONSE, 0]);
    frame.extend_from_slice(&body);
    stream.write_all(&frame)
}
