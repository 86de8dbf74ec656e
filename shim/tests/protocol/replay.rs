//! Transcripts of real containerds, replayed: the same calls in the same order, and the same
//! answers and events are expected.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use trireme_tests::protocol::client::{Answer, Client, Pending};
use trireme_tests::protocol::transcript::{self, Entry, Normaliser};

use crate::server::{Server, fifo};

const TRANSCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
/// The versions of containerd that there must be transcripts of.
const VERSIONS: [&str; 2] = ["1.6.20", "2.3.4"];
/// What must have been recorded with each.
const SCENARIOS: [&str; 6] = [
    "exit-code",
    "hello",
    "kill",
    "missing-entrypoint",
    "pause",
    "pod",
];
const LIMIT: Duration = Duration::from_secs(10);
/// How long something is waited for that must not come.
const QUIET: Duration = Duration::from_millis(50);

/// One trial for each transcript.
pub fn trials() -> Vec<Trial> {
    let replay = |version: &'static str, scenario: &'static str| {
        let run = move || {
            replay(&Path::new(TRANSCRIPTS).join(version), scenario)
                .map_err(|error| Failed::from(format!("{error:#}")))
        };
        Trial::test(format!("replay::{version}::{scenario}"), run)
    };
    VERSIONS
        .into_iter()
        .flat_map(|version| SCENARIOS.map(|scenario| replay(version, scenario)))
        .collect()
}

fn replay(folder: &Path, scenario: &str) -> Result<()> {
    let entries = transcript::read(&folder.join(format!("{scenario}.jsonl")))?;
    let mut server = Server::start()?;
    let mut replay = Replay::new(&server, folder);
    for (number, entry) in entries.into_iter().enumerate() {
        replay
            .step(entry)
            .with_context(|| format!("{scenario}.jsonl, line {}", number + 1))?;
    }
    if let Some(event) = server.events.next(QUIET) {
        bail!("an event that is not in the transcript: {event}");
    }
    let status = server.left(LIMIT)?;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}

struct Replay<'a> {
    server: &'a Server,
    folder: &'a Path,
    /// Placeholders and what they stand for in this run.
    places: [(&'static str, PathBuf); 2],
    normaliser: Normaliser,
    clients: HashMap<usize, Client>,
    pending: HashMap<(usize, u32), (Pending, String, String)>,
}

impl<'a> Replay<'a> {
    fn new(server: &'a Server, folder: &'a Path) -> Self {
        let places = [("{tasks}", server.tasks()), ("{fifo}", server.fifos())];
        let known = places
            .iter()
            .map(|(placeholder, path)| (path.display().to_string(), *placeholder))
            .collect();
        Self {
            server,
            folder,
            places,
            normaliser: Normaliser::new(known),
            clients: HashMap::new(),
            pending: HashMap::new(),
        }
    }

    fn step(&mut self, entry: Entry) -> Result<()> {
        match entry {
            // Done by another program, before this server or after it.
            Entry::Run { .. } => Ok(()),
            Entry::Call {
                connection,
                stream,
                service,
                method,
                request,
                ..
            } => self.call((connection, stream), &service, method, request),
            Entry::Response {
                connection,
                stream,
                response,
            } => self.answer((connection, stream), &Answer::Response(response)),
            Entry::Refusal {
                connection,
                stream,
                status,
                message,
            } => self.answer((connection, stream), &Answer::Refusal { status, message }),
            Entry::Closed { connection } => {
                self.clients.remove(&connection);
                Ok(())
            }
            Entry::Event {
                topic,
                namespace,
                event,
            } => self.event(&topic, &namespace, event),
        }
    }

    fn call(
        &mut self,
        key: (usize, u32),
        service: &str,
        method: String,
        mut request: Value,
    ) -> Result<()> {
        self.place(&mut request);
        let id = request["id"].as_str().unwrap_or_default().to_owned();
        if method == "Create" {
            self.prepare(&id, &request)?;
        }
        if !self.clients.contains_key(&key.0) {
            let client = Client::connect(&self.server.socket(), service)?;
            self.clients.insert(key.0, client);
        }
        let client = self.clients.get_mut(&key.0).context("no connection")?;
        let pending = client.send(&method, &request)?;
        self.pending.insert(key, (pending, method, id));
        Ok(())
    }

    /// The bundle and the FIFOs that a containerd makes before it asks for a container.
    fn prepare(&self, id: &str, request: &Value) -> Result<()> {
        let config = fs::read_to_string(self.folder.join(format!("{id}.config.json")))?;
        self.server.bundle(id, serde_json::from_str(&config)?)?;
        for name in ["stdin", "stdout", "stderr"] {
            if let Some(path) = request.get(name).and_then(Value::as_str) {
                fifo(Path::new(path))?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, key: (usize, u32), expected: &Answer) -> Result<()> {
        let (pending, method, id) = self.pending.remove(&key).context("an answer to no call")?;
        if method == "Wait" {
            self.server.end(&id)?;
        }
        let client = self.clients.get(&key.0).context("no connection")?;
        let answer = client
            .answer(&pending, LIMIT)?
            .with_context(|| format!("{method} of {id} is not answered"))?;
        let answer = match answer {
            Answer::Response(mut value) => {
                self.normaliser.value(&mut value);
                Answer::Response(value)
            }
            Answer::Refusal { status, message } => Answer::Refusal {
                status,
                message: self.normaliser.text(&message),
            },
        };
        ensure!(
            answer == *expected,
            "{method} of {id}\nexpected {expected:?}\nbut got  {answer:?}"
        );
        Ok(())
    }

    fn event(&mut self, topic: &str, namespace: &str, event: Value) -> Result<()> {
        if topic == "/tasks/exit" {
            let id = event.pointer("/message/container_id");
            self.server
                .end(id.and_then(Value::as_str).context("no id")?)?;
        }
        let mut got = self
            .server
            .events
            .next(LIMIT)
            .with_context(|| format!("the event {topic} does not come"))?;
        self.normaliser.value(&mut got);
        let expected = json!({
            "timestamp": "{time}",
            "namespace": namespace,
            "topic": topic,
            "event": event,
        });
        ensure!(got == expected, "expected {expected}\nbut got  {got}");
        Ok(())
    }

    /// Puts the paths of this run in place of placeholders.
    fn place(&self, value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.place(value)),
            Value::Object(object) => object.values_mut().for_each(|value| self.place(value)),
            Value::String(text) => {
                for (placeholder, path) in &self.places {
                    *text = text.replace(placeholder, &path.display().to_string());
                }
            }
            _ => {}
        }
    }
}
