//! The program that containerd runs as the shim: it passes everything on to the real one, with the
//! recorder's addresses in place of the real ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageDyn, MessageFull};
use containerd_shim_protos::types::introspection::RuntimeInfo;
use serde_json::{Value, json};

use super::super::json as mapping;
use super::super::transcript::Entry;
use super::{Ask, CONTROL, EVENTS, Told};

/// What of the environment belongs to the protocol.
const ENVIRONMENT: [&str; 4] = [
    "TTRPC_ADDRESS",
    "GRPC_ADDRESS",
    "NAMESPACE",
    "MAX_SHIM_VERSION",
];

/// Acts as the shim's program; prints what containerd is to get, and returns the exit code.
///
/// # Errors
///
/// When there is no recorder.
pub fn run(args: &[String]) -> Result<i32> {
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
    Params(Box<BootstrapParams>),
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
            return Self::Params(Box::new(params));
        }
        match Any::parse_from_bytes(bytes) {
            Ok(any) => Self::Options(any, bytes.to_vec()),
            Err(_) => Self::Other(bytes.to_vec()),
        }
    }

    fn events_address(&mut self) -> String {
        let from_params = match self {
            Self::Params(params) => params.containerd_ttrpc_address.clone(),
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
            Self::Params(params) => {
                let mut params = params.clone();
                params.containerd_ttrpc_address = EVENTS.to_owned();
                params.write_to_bytes()?
            }
        })
    }

    fn json(&self) -> Result<Value> {
        match self {
            Self::Nothing => Ok(Value::Null),
            Self::Params(params) => named(&**params),
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
