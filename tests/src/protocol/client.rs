//! A client of the task service that says exactly what it is told to, and waits for no answer
//! unless it is asked to.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message};
use containerd_shim_protos::ttrpc::proto::{Code, KeyValue, Request, Response};
use serde_json::Value;

use super::frame::{Frame, REQUEST};
use super::json;
use super::methods;

/// How a call went.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// With a message.
    Response(Value),
    /// With an error.
    Refusal {
        /// The gRPC status, as `NOT_FOUND`.
        status: String,
        /// What it says.
        message: String,
    },
}

impl Answer {
    /// Reads the payload of a response's frame.
    ///
    /// # Errors
    ///
    /// When it is no answer to a call of this method.
    pub fn parse(method: &str, payload: &[u8]) -> Result<Self> {
        let response = Response::parse_from_bytes(payload)?;
        match response.status.as_ref() {
            Some(status) if status.code != EnumOrUnknown::new(Code::OK) => Ok(Self::Refusal {
                status: format!("{:?}", status.code.enum_value_or_default()),
                message: status.message.clone(),
            }),
            _ => {
                let descriptor = methods::messages(method)?.response;
                Ok(Self::Response(json::of_bytes(
                    &descriptor,
                    &response.payload,
                )?))
            }
        }
    }

    /// The message, which must be one.
    ///
    /// # Errors
    ///
    /// For a refusal.
    pub fn expect(self) -> Result<Value> {
        match self {
            Self::Response(value) => Ok(value),
            Self::Refusal { status, message } => bail!("{status}: {message}"),
        }
    }
}

/// A call that was made and may not be answered yet.
#[derive(Debug)]
pub struct Pending {
    stream: u32,
    method: String,
}

/// A connection to a shim.
pub struct Client {
    stream: UnixStream,
    service: String,
    next: u32,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    payloads: HashMap<u32, Vec<u8>>,
    ended: bool,
}

impl Client {
    /// Connects to a socket; calls go to `service`.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub fn connect(socket: &Path, service: &str) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connect to {}", socket.display()))?;
        let shared = Arc::new(Shared::default());
        let (theirs, reader) = (Arc::clone(&shared), stream.try_clone()?);
        std::thread::spawn(move || read_all(reader, &theirs));
        Ok(Self {
            stream,
            service: service.to_owned(),
            next: 1,
            shared,
        })
    }

    /// Makes a call.
    ///
    /// # Errors
    ///
    /// When the request does not fit the method or the connection is broken.
    pub fn send(&mut self, method: &str, request: &Value) -> Result<Pending> {
        let payload = json::to_bytes(&methods::messages(method)?.request, request)?;
        let request = Request {
            service: self.service.clone(),
            method: method.to_owned(),
            payload,
            metadata: vec![KeyValue {
                key: "containerd-namespace-ttrpc".into(),
                value: "default".into(),
                ..KeyValue::default()
            }],
            ..Request::default()
        };
        let stream = self.next;
        self.next += 2;
        Frame {
            stream,
            kind: REQUEST,
            flags: 0,
            payload: request.write_to_bytes()?,
        }
        .write(&mut self.stream)
        .with_context(|| format!("call {method}"))?;
        Ok(Pending {
            stream,
            method: method.to_owned(),
        })
    }

    /// The answer to a call, or `None` if it does not come in time.
    ///
    /// # Errors
    ///
    /// When the connection ends without it.
    pub fn answer(&self, pending: &Pending, limit: Duration) -> Result<Option<Answer>> {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            if let Some(payload) = state.payloads.remove(&pending.stream) {
                return Answer::parse(&pending.method, &payload).map(Some);
            }
            if state.ended {
                bail!("the shim hung up without an answer to {}", pending.method);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Ok(None);
            };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes a call and waits for its answer, which must come within ten seconds.
    ///
    /// # Errors
    ///
    /// Those of [`Client::send`] and [`Client::answer`].
    pub fn call(&mut self, method: &str, request: &Value) -> Result<Answer> {
        const LIMIT: Duration = Duration::from_secs(10);
        let pending = self.send(method, request)?;
        self.answer(&pending, LIMIT)?
            .with_context(|| format!("{method} was not answered within {LIMIT:?}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_all(mut from: UnixStream, shared: &Shared) {
    while let Ok(Some(frame)) = Frame::read(&mut from) {
        shared.lock().payloads.insert(frame.stream, frame.payload);
        shared.changed.notify_all();
    }
    shared.lock().ended = true;
    shared.changed.notify_all();
}
