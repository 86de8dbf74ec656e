//! A place that takes events as containerd does.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::ttrpc::proto::{Request, Response, Status};
use serde_json::Value;

use super::frame::{Frame, RESPONSE};
use super::json;
use super::methods;

/// Events in the order of their arrival.
pub struct Events(Mutex<Receiver<Value>>);

impl Events {
    /// Listens at a socket.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn listen(socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("listen at {}", socket.display()))?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || take(stream, &sender));
            }
        });
        Ok(Self(Mutex::new(receiver)))
    }

    /// The next event (`topic`, `namespace`, `event`), or `None` if none comes in time.
    pub fn next(&self, limit: Duration) -> Option<Value> {
        let receiver = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        receiver.recv_timeout(limit).ok()
    }
}

/// The envelope in the payload of a `Forward` request.
///
/// # Errors
///
/// When there is none.
pub fn envelope(request: &[u8]) -> Result<Value> {
    let request = Request::parse_from_bytes(request)?;
    let descriptor = methods::messages(&request.method)?.request;
    let mut forward = json::of_bytes(&descriptor, &request.payload)?;
    Ok(forward
        .get_mut("envelope")
        .context("an event without an envelope")?
        .take())
}

fn take(mut stream: UnixStream, sender: &Sender<Value>) {
    while let Ok(Some(frame)) = Frame::read(&mut stream) {
        let Ok(envelope) = envelope(&frame.payload) else {
            return;
        };
        let response = Response {
            status: MessageField::some(Status::default()),
            ..Response::default()
        };
        let answer = Frame {
            kind: RESPONSE,
            payload: response.write_to_bytes().unwrap_or_default(),
            ..frame
        };
        if sender.send(envelope).is_err() || answer.write(&mut stream).is_err() {
            return;
        }
    }
}
