//! Recording: a program that stands between a containerd and a shim.
//!
//! containerd runs [`wrap`] as the shim. It passes everything on to the real shim but the
//! addresses: both that of the shim's server and that of containerd's events lead to
//! [`Recorder`], a process that passes on what it gets there and writes it down. One process
//! writes, so the lines are in the order in which things were said.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageDyn, MessageFull};
use containerd_shim_protos::ttrpc::proto::Request;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
/// What of the environment belongs to the protocol.
const ENVIRONMENT: [&str; 6] = [
    "TTRPC_ADDRESS",
    "GRPC_ADDRESS",
    "NAMESPACE",
    "MAX_SHIM_VERSION",
    "SCHED_CORE",
    "CONTAINERD_SHIM_RUNC_V2",
];

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

/// Acts as the shim's program; prints what containerd is to get, and returns the exit code.
///
/// # Errors
///
/// When there is no recorder.
pub fn wrap(args: &[String]) -> Result<i32> {
    let mut stdin = Vec::new();
    std::io::stdin().read_to_end(&mut stdin)?;
    let verb = verb(args);
    let mut input = Input::new(verb, args, &stdin);
    let address = input.events_address();
    let shim = ask(&Ask::Begin { events: address })?.0;
    let mut child = Command::new(&shim)
        .args(args)
        .env("TTRPC_ADDRESS", EVENTS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {shim}"))?;
    let bytes = input.redirected()?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(&bytes)?;
    }
    let output = child.wait_with_output()?;
    let code = output.status.code().unwrap_or(255);
    let mut reply = Reply::new(verb, &output.stdout, code);
    let entry = Entry::Run {
        verb: verb.to_owned(),
        args: args.to_vec(),
        env: environment(),
        cwd: std::env::current_dir()?.display().to_string(),
        stdin: input.json()?,
        stdout: reply.json()?,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code,
    };
    let server = reply.address();
    let told = ask(&Ask::End {
        entry,
        server: server.clone(),
    })?;
    if server.is_some() {
        reply.redirect(&told.0);
        fs::write("address", &told.0).context("write the bundle's address file")?;
    }
    std::io::stdout().write_all(&reply.bytes()?)?;
    std::io::stderr().write_all(&output.stderr)?;
    Ok(code)
}

fn verb(args: &[String]) -> &'static str {
    match args.last().map(String::as_str) {
        Some("start") => "start",
        Some("delete") => "delete",
        _ if args.iter().any(|arg| arg == "-info") => "info",
        _ => "other",
    }
}

fn environment() -> BTreeMap<String, String> {
    ENVIRONMENT
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect()
}

fn ask(ask: &Ask) -> Result<Told> {
    let mut stream = UnixStream::connect(CONTROL).context("no recorder runs")?;
    serde_json::to_writer(&stream, ask)?;
    stream.write_all(b"\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).context("the recorder failed")
}

/// Standard input of the shim's program.
enum Input {
    Nothing,
    Params(Box<BootstrapParams>, Vec<u8>),
    Options(Any, Vec<u8>),
    Other(Vec<u8>),
}

impl Input {
    fn new(verb: &str, args: &[String], bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Nothing;
        }
        let id = args.iter().skip_while(|arg| *arg != "-id").nth(1);
        if verb == "start"
            && let Ok(params) = BootstrapParams::parse_from_bytes(bytes)
            && Some(&params.instance_id) == id
        {
            return Self::Params(Box::new(params), bytes.to_vec());
        }
        match Any::parse_from_bytes(bytes) {
            Ok(any) => Self::Options(any, bytes.to_vec()),
            Err(_) => Self::Other(bytes.to_vec()),
        }
    }

    fn events_address(&mut self) -> String {
        let from_params = match self {
            Self::Params(params, _) => params.containerd_ttrpc_address.clone(),
            _ => String::new(),
        };
        match from_params {
            address if address.is_empty() => std::env::var("TTRPC_ADDRESS").unwrap_or_default(),
            address => address,
        }
    }

    fn redirected(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Nothing => Vec::new(),
            Self::Options(_, bytes) | Self::Other(bytes) => bytes.clone(),
            Self::Params(params, _) => {
                let mut params = params.clone();
                params.containerd_ttrpc_address = EVENTS.to_owned();
                params.write_to_bytes()?
            }
        })
    }

    fn json(&self) -> Result<Value> {
        match self {
            Self::Nothing => Ok(Value::Null),
            Self::Params(params, _) => named(&**params),
            Self::Options(any, _) => named(any),
            Self::Other(bytes) => Ok(json!({ "hex": mapping::hex(bytes) })),
        }
    }
}

fn named(message: &dyn MessageDyn) -> Result<Value> {
    let name = message.descriptor_dyn().name().to_owned();
    Ok(json!({ name: mapping::of(message)? }))
}

/// Standard output of the shim's program.
enum Reply {
    Text(String),
    Result(BootstrapResult),
    Message(Value, Vec<u8>),
    Failed(Vec<u8>),
}

impl Reply {
    fn new(verb: &str, bytes: &[u8], code: i32) -> Self {
        let text = std::str::from_utf8(bytes).ok();
        let message =
            |value: Result<Value>| value.ok().map(|value| Self::Message(value, bytes.into()));
        let parsed = match (verb, text) {
            _ if code != 0 => None,
            ("start", Some(text)) if text.starts_with("unix:") => Some(Self::Text(text.to_owned())),
            ("start", _) => BootstrapResult::parse_from_bytes(bytes)
                .ok()
                .map(Self::Result),
            ("delete", _) => message(mapping::of_bytes(&DeleteResponse::descriptor(), bytes)),
            ("info", _) => message(mapping::of_bytes(&RuntimeInfo::descriptor(), bytes)),
            _ => None,
        };
        parsed.unwrap_or_else(|| Self::Failed(bytes.to_vec()))
    }

    fn address(&self) -> Option<String> {
        match self {
            Self::Text(address) => Some(address.clone()),
            Self::Result(result) => Some(result.address.clone()),
            _ => None,
        }
    }

    fn redirect(&mut self, to: &str) {
        match self {
            Self::Text(address) => *address = to.to_owned(),
            Self::Result(result) => result.address = to.to_owned(),
            _ => {}
        }
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Text(address) => address.clone().into_bytes(),
            Self::Result(result) => result.write_to_bytes()?,
            Self::Message(_, bytes) | Self::Failed(bytes) => bytes.clone(),
        })
    }

    fn json(&self) -> Result<Value> {
        Ok(match self {
            Self::Text(text) => json!(text),
            Self::Result(result) => named(result)?,
            Self::Message(value, _) => value.clone(),
            Self::Failed(bytes) => json!(String::from_utf8_lossy(bytes)),
        })
    }
}

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

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
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
