//! A connection to a server, by the task service that any version of containerd can call.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost::Message;

use crate::messages::ttrpc::{Request, Response};

const SERVICE: &str = "containerd.task.v2.Task";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The kinds of frames (github.com/containerd/ttrpc, PROTOCOL.md).
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// A connection on which one call is made at a time.
pub struct Connection {
    stream: UnixStream,
    next: u32,
}

impl Connection {
    /// Connects to a server's socket.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream, next: 1 })
    }

    /// Makes a call and waits for its answer.
    ///
    /// # Errors
    ///
    /// When it is refused, or not answered in ten seconds.
    pub fn call<A: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<A> {
        self.send(method, request.encode_to_vec())
            .and_then(|call| self.answer(call))
            .with_context(|| method.to_owned())
    }

    fn send(&mut self, method: &str, payload: Vec<u8>) -> Result<u32> {
        let call = self.next;
        self.next += 2;
        let request = Request {
            service: SERVICE.to_owned(),
            method: method.to_owned(),
            payload,
        };
        let body = request.encode_to_vec();
        let mut frame = Vec::with_capacity(10 + body.len());
        frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
        frame.extend_from_slice(&call.to_be_bytes());
        frame.extend_from_slice(&[REQUEST, 0]);
        frame.extend_from_slice(&body);
        self.stream.write_all(&frame).context("send the request")?;
        Ok(call)
    }

    fn answer<A: Message + Default>(&mut self, call: u32) -> Result<A> {
        let body = loop {
            let (of, kind, body) = self.frame().context("no answer")?;
            // One of a call that was given up comes too late.
            if (of, kind) == (call, RESPONSE) {
                break body;
            }
        };
        let response = Response::decode(&body[..])?;
        let status = response.status.unwrap_or_default();
        ensure!(status.code == 0, "{}", status.message);
        Ok(A::decode(&response.payload[..])?)
    }

    /// The next frame: whose it is, its kind, and what it holds.
    fn frame(&mut self) -> Result<(u32, u8, Vec<u8>)> {
        let mut header = [0; 10];
        self.stream.read_exact(&mut header)?;
        let [a, b, c, d, e, f, g, h, kind, _] = header;
        let mut body = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        self.stream.read_exact(&mut body)?;
        Ok((u32::from_be_bytes([e, f, g, h]), kind, body))
    }
}
