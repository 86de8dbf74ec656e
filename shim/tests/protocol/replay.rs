//! Transcripts of real containerds, replayed: the same calls in the same order, and the same
//! answers and events are expected.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use trireme_tests::paths;
use trireme_tests::protocol::client::{Answer, Client, Pending};
use trireme_tests::protocol::transcript::{self, Entry, Normaliser};

use crate::runs;
use crate::server::{Server, fifo};

const TRANSCRIPTS: &str = "shim/tests/transcripts";
/// The versions of containerd that there must be transcripts of.
const VERSIONS: [&str; 4] = ["1.6.20", "1.7.24", "2.1.9", "2.3.4"];
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
            replay(&paths::checkout().join(TRANSCRIPTS).join(version), scenario)
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
    calls: HashMap<(usize, u32), Call>,
    /// Tasks that were sent a signal and whose end was not seen yet.
    dying: HashSet<String>,
}

/// A call that is not answered yet.
struct Call {
    pending: Pending,
    method: String,
    id: String,
    request: Value,
    /// Whether its task may end before or after it.
    is_race: bool,
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
            calls: HashMap::new(),
            dying: HashSet::new(),
        }
    }

    fn step(&mut self, entry: Entry) -> Result<()> {
        match entry {
            Entry::Run {
                verb,
                args,
                env,
                cwd,
                stdin,
                stdout,
                stderr,
                code,
            } => {
                ensure!(
                    code == 0 && stderr.is_empty(),
                    "a run that failed: {stderr}"
                );
                if verb == "start" {
                    return runs::start(args, &stdin, &stdout);
                }
                let args: Vec<_> = args.iter().map(|arg| self.placed(arg)).collect();
                let mut got = runs::run(&verb, &args, &env, Path::new(&self.placed(&cwd)))?;
                self.normaliser.value(&mut got);
                ensure!(got == stdout, "{verb}: expected {stdout}\nbut got  {got}");
                Ok(())
            }
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
        let call = Call {
            pending: client.send(&method, &request)?,
            is_race: method == "State" && self.dying.contains(&id),
            method,
            id,
            request,
        };
        if call.method == "Kill" {
            self.dying.insert(call.id.clone());
        }
        self.calls.insert(key, call);
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
        let mut call = self.calls.remove(&key).context("an answer to no call")?;
        let was_stopped =
            matches!(expected, Answer::Response(state) if state["status"] == "STOPPED");
        if call.method == "Wait" || was_stopped {
            self.server.end(&call.id)?;
        }
        let deadline = Instant::now() + LIMIT;
        let mut answer = self.await_answer(key.0, &call)?;
        // The guest that was recorded was as far as that already.
        while was_stopped && answer != *expected && Instant::now() < deadline {
            let client = self.clients.get_mut(&key.0).context("no connection")?;
            call.pending = client.send(&call.method, &call.request)?;
            answer = self.await_answer(key.0, &call)?;
        }
        let is_same = match call.is_race && !was_stopped {
            true => without_end(&answer) == without_end(expected),
            false => answer == *expected,
        };
        ensure!(
            is_same,
            "{} of {}\nexpected {expected:?}\nbut got  {answer:?}",
            call.method,
            call.id
        );
        Ok(())
    }

    fn await_answer(&mut self, connection: usize, call: &Call) -> Result<Answer> {
        let client = self.clients.get(&connection).context("no connection")?;
        let answer = client
            .answer(&call.pending, LIMIT)?
            .with_context(|| format!("{} of {} is not answered", call.method, call.id))?;
        Ok(match answer {
            Answer::Response(mut value) => {
                self.normaliser.value(&mut value);
                Answer::Response(value)
            }
            Answer::Refusal { status, message } => Answer::Refusal {
                status,
                message: self.normaliser.text(&message),
            },
        })
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
            Value::String(text) => *text = self.placed(text),
            _ => {}
        }
    }

    fn placed(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (placeholder, path) in &self.places {
            text = text.replace(placeholder, &path.display().to_string());
        }
        text
    }
}

/// The state of a task that may have ended since.
fn without_end(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    if let Answer::Response(Value::Object(state)) = &mut answer {
        for field in ["status", "exit_status", "exited_at"] {
            state.remove(field);
        }
    }
    answer
}
