//! Recording: a program that stands between a containerd and a shim.
//!
//! containerd runs [`wrapper::run`] as the shim. It passes everything on to the real shim but the
//! addresses: both that of the shim's server and that of containerd's events lead to
//! [`Recorder`], a process that passes on what it gets there and writes it down. One process
//! writes, so the lines are in the order in which things were said.

pub mod wrapper;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::ttrpc::proto::Request;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::Answer;
use super::events;
use super::frame::Frame;
use super::transcript::{Entry, Normaliser};
use super::{json as mapping, methods};

/// Where the wrapper finds the recorder.
const CONTROL: &str = "/run/trireme-record/control.sock";
/// Where the shim is to send events.
const EVENTS: &str = "/run/trireme-record/events.sock";
/// The folder of both, and of the sockets between containerd and servers.
const FOLDER: &str = "/run/trireme-record";
/// Where containerd keeps the bundles of the namespace `default`.
const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task/default";

/// What a wrapper asks of the recorder.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// Where is the real shim, and which address has containerd for events?
    Begin { events: String },
    /// Write this down; stand before this server, if there is one.
    End {
        entry: Entry,
        server: Option<String>,
    },
}

/// What it is told.
#[derive(Debug, Serialize, Deserialize)]
struct Told(String);

/// The process that writes a transcript.
pub struct Recorder {
    shim: String,
    folder: PathBuf,

    lines: Mutex<Lines>,
}

struct Lines {
    file: File,
    normaliser: Normaliser,
    connections: usize,
    servers: BTreeMap<String, String>,
    containerd: String,
}

impl Recorder {
    /// Records what is said with `shim` to `folder/name.jsonl`; returns only with an error.
    /// Bundles are kept as `folder/ID.config.json`. Prints a line when it is ready.
    ///
    /// # Errors
    ///
    /// When it cannot listen or write.
    pub fn run(shim: &str, folder: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        let _ = fs::remove_dir_all(FOLDER);
        fs::create_dir_all(FOLDER)?;
        let paths = vec![
            (TASKS.to_owned(), "{tasks}"),
            (FOLDER.to_owned(), "{record}"),
            ("/run/containerd/s".to_owned(), "{sockets}"),
        ];
        let recorder = Arc::new(Self {
            shim: shim.to_owned(),
            folder: folder.to_owned(),
            lines: Mutex::new(Lines {
                file: File::create(folder.join(format!("{name}.jsonl")))?,
                normaliser: Normaliser::new(paths),
                connections: 0,
                servers: BTreeMap::new(),
                containerd: String::new(),
            }),
        });
        let control = UnixListener::bind(CONTROL)?;
        let events = UnixListener::bind(EVENTS)?;
        let theirs = Arc::clone(&recorder);
        std::thread::spawn(move || theirs.pass_events(&events));
        println!("ready");
        for stream in control.incoming() {
            let stream = stream?;
            let recorder = Arc::clone(&recorder);
            std::thread::spawn(move || report(recorder.answer(stream)));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(self: &Arc<Self>, stream: UnixStream) -> Result<()> {
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let told = match serde_json::from_str(&line)? {
            Ask::Begin { events } => {
                self.lock().containerd = events;
                self.shim.clone()
            }
            Ask::End { entry, server } => {
                self.write(entry)?;
                match server {
                    Some(server) => self.stand_before(&server)?,
                    None => String::new(),
                }
            }
        };
        serde_json::to_writer(&stream, &Told(told))?;
        Ok(())
    }

    /// Writes a line; addresses, pids and times become placeholders.
    fn write(&self, entry: Entry) -> Result<()> {
        let mut lines = self.lock();
        let mut value = serde_json::to_value(entry)?;
        lines.normaliser.value(&mut value);
        if let Some(run) = value.get_mut("run") {
            tidy(run);
        }
        writeln!(lines.file, "{value}")?;
        Ok(())
    }

    /// Gives a server's address another that leads here first.
    fn stand_before(self: &Arc<Self>, server: &str) -> Result<String> {
        let mut lines = self.lock();
        if let Some(known) = lines.servers.get(server) {
            return Ok(known.clone());
        }
        let socket = PathBuf::from(FOLDER).join(format!("{}.sock", lines.servers.len() + 1));
        let listener = UnixListener::bind(&socket)?;
        let address = format!("unix://{}", socket.display());
        lines.servers.insert(server.to_owned(), address.clone());
        drop(lines);
        let target = server.trim_start_matches("unix://").to_owned();
        let recorder = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                report(recorder.pass_calls(stream, &target));
            }
        });
        Ok(address)
    }

    fn pass_calls(self: &Arc<Self>, client: UnixStream, target: &str) -> Result<()> {
        let server = UnixStream::connect(target).with_context(|| format!("connect to {target}"))?;
        let connection = {
            let mut lines = self.lock();
            lines.connections += 1;
            lines.connections
        };
        let methods: Arc<Mutex<BTreeMap<u32, String>>> = Arc::default();
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        let asked = Arc::clone(&methods);
        std::thread::spawn(move || {
            report(pass(from, to, |frame| {
                there.call(connection, frame, &asked)
            }));
            report(there.write(Entry::Closed { connection }));
        });
        std::thread::spawn(move || {
            report(pass(server, client, |frame| {
                let method = {
                    let methods = methods.lock().unwrap_or_else(PoisonError::into_inner);
                    methods.get(&frame.stream).cloned()
                };
                let method = method.context("an answer to no call")?;
                back.reply(connection, frame, &method)
            }));
        });
        Ok(())
    }

    fn call(
        &self,
        connection: usize,
        frame: &Frame,
        asked: &Mutex<BTreeMap<u32, String>>,
    ) -> Result<()> {
        let call = Request::parse_from_bytes(&frame.payload)?;
        asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(frame.stream, call.method.clone());
        let descriptor = methods::messages(&call.method)?.request;
        let request = mapping::of_bytes(&descriptor, &call.payload)?;
        if call.method == "Create" {
            self.keep_bundle(&request)?;
        }
        // Traces differ from call to call and mean nothing to a shim.
        let metadata = call
            .metadata
            .iter()
            .filter(|pair| pair.key != "traceparent")
            .map(|pair| (pair.key.clone(), pair.value.clone()))
            .collect();
        self.write(Entry::Call {
            connection,
            stream: frame.stream,
            service: call.service,
            method: call.method,
            metadata,
            request,
        })
    }

    fn reply(&self, connection: usize, frame: &Frame, method: &str) -> Result<()> {
        let stream = frame.stream;
        self.write(match Answer::parse(method, &frame.payload)? {
            Answer::Response(response) => Entry::Response {
                connection,
                stream,
                response,
            },
            Answer::Refusal { status, message } => Entry::Refusal {
                connection,
                stream,
                status,
                message,
            },
        })
    }

    fn keep_bundle(&self, request: &Value) -> Result<()> {
        let text = |name: &str| {
            request
                .get(name)
                .and_then(Value::as_str)
                .context("no bundle")
        };
        let config = fs::read_to_string(Path::new(text("bundle")?).join("config.json"))?;
        let config: Value = serde_json::from_str(&config)?;
        let file = self.folder.join(format!("{}.config.json", text("id")?));
        Ok(fs::write(
            file,
            serde_json::to_string_pretty(&config)? + "\n",
        )?)
    }

    fn pass_events(self: &Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming().flatten() {
            let containerd = self.lock().containerd.clone();
            let recorder = Arc::clone(self);
            std::thread::spawn(move || report(recorder.pass_events_of(stream, &containerd)));
        }
    }

    fn pass_events_of(self: &Arc<Self>, shim: UnixStream, containerd: &str) -> Result<()> {
        let containerd = UnixStream::connect(containerd)?;
        let (from, to) = (containerd.try_clone()?, shim.try_clone()?);
        std::thread::spawn(move || report(pass(from, to, |_| Ok(()))));
        pass(shim, containerd, |frame| {
            let mut envelope = events::envelope(&frame.payload)?;
            let mut take = |name: &str| envelope.get_mut(name).map(Value::take).unwrap_or_default();
            self.write(Entry::Event {
                topic: take("topic").as_str().unwrap_or_default().to_owned(),
                namespace: take("namespace").as_str().unwrap_or_default().to_owned(),
                event: take("event"),
            })
        })
    }
}

/// What of a run of the shim's program differs by where its programs are.
fn tidy(run: &mut Value) {
    if let Some(args) = run.get_mut("args").and_then(Value::as_array_mut) {
        for at in 1..args.len() {
            if args[at - 1] == "-publish-binary" {
                args[at] = "{containerd}".into();
            }
        }
    }
    for field in ["containerd_binary", "containerd_version"] {
        if let Some(value) = run.pointer_mut(&format!("/stdin/BootstrapParams/{field}")) {
            *value = format!("{{{field}}}").into();
        }
    }
    for pointer in ["/stdout", "/stdout/BootstrapResult/address"] {
        if let Some(value) = run.pointer_mut(pointer)
            && value
                .as_str()
                .is_some_and(|text| text.starts_with("unix://"))
        {
            *value = "{address}".into();
        }
    }
}

/// Passes frames on until the connection ends; each is written down before it goes on.
fn pass(
    mut from: UnixStream,
    mut to: UnixStream,
    mut note: impl FnMut(&Frame) -> Result<()>,
) -> Result<()> {
    let result = (|| {
        while let Some(frame) = Frame::read(&mut from)? {
            note(&frame)?;
            frame.write(&mut to)?;
        }
        Ok(())
    })();
    let _ = to.shutdown(Shutdown::Both);
    result
}

/// A recording that failed must not look like one that did not.
fn report(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("recorder: {error:#}");
    }
}
