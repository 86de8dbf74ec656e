//! Transcripts: what was said between a containerd and a shim, one JSON object a line, with
//! placeholders for all that differs from run to run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// containerd ran the shim's program.
    Run {
        /// `start`, `delete` or `info`.
        verb: String,
        /// All words after the program's name.
        args: Vec<String>,
        /// What the protocol says with the environment.
        env: BTreeMap<String, String>,
        /// The working directory.
        cwd: String,
        /// Standard input, with the name of its message.
        stdin: Value,
        /// Standard output.
        stdout: Value,
        /// Standard error.
        stderr: String,
        /// The exit code.
        code: i32,
    },
    /// containerd made a call.
    Call {
        /// The number of the connection, in the order of their making.
        connection: usize,
        /// The number of the call on it.
        stream: u32,
        /// The service.
        service: String,
        /// The method.
        method: String,
        /// What goes along.
        metadata: BTreeMap<String, String>,
        /// The message.
        request: Value,
    },
    /// A call was answered with a message.
    Response {
        /// The number of the connection.
        connection: usize,
        /// The number of the call on it.
        stream: u32,
        /// The message.
        response: Value,
    },
    /// A call was answered with an error.
    Refusal {
        /// The number of the connection.
        connection: usize,
        /// The number of the call on it.
        stream: u32,
        /// The gRPC status.
        status: String,
        /// What it says.
        message: String,
    },
    /// containerd closed a connection.
    Closed {
        /// The number of the connection.
        connection: usize,
    },
    /// The shim sent an event.
    Event {
        /// Its topic.
        topic: String,
        /// Its namespace.
        namespace: String,
        /// The event.
        event: Value,
    },
}

/// Reads a transcript.
///
/// # Errors
///
/// When a line is none.
pub fn read(file: &Path) -> Result<Vec<Entry>> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    text.lines()
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}, line {}", file.display(), number + 1))
        })
        .collect()
}

/// Puts placeholders in place of what differs from run to run. The same process has the same
/// placeholder all through a transcript.
#[derive(Clone, Debug, Default)]
pub struct Normaliser {
    paths: Vec<(String, &'static str)>,
    pids: Vec<u64>,
}

/// Folders of containerd in which every path that goes on with a number differs from run to run.
const NUMBERED: [(&str, &str); 2] = [
    ("/run/containerd/fifo/", "{fifo}"),
    (
        "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/",
        "{snapshot}",
    ),
];

impl Normaliser {
    /// One that knows these folders (text to be replaced, placeholder).
    pub fn new(paths: Vec<(String, &'static str)>) -> Self {
        Self {
            paths,
            pids: Vec::new(),
        }
    }

    /// Normalises JSON.
    pub fn value(&mut self, value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(object) => {
                for (name, value) in object.iter_mut() {
                    match value.as_u64() {
                        Some(pid) if name.ends_with("pid") => *value = self.pid(pid).into(),
                        _ if name == "version" && value.is_string() => *value = "{version}".into(),
                        _ => self.value(value),
                    }
                }
            }
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    /// Normalises text.
    pub fn text(&self, text: &str) -> String {
        if is_time(text) {
            return "{time}".to_owned();
        }
        let mut text = text.to_owned();
        for (path, placeholder) in &self.paths {
            text = text.replace(path, placeholder);
        }
        for (folder, placeholder) in NUMBERED {
            text = without_numbers(&text, folder, placeholder);
        }
        text
    }

    fn pid(&mut self, pid: u64) -> String {
        let known = self.pids.iter().position(|known| *known == pid);
        let index = known.unwrap_or_else(|| {
            self.pids.push(pid);
            self.pids.len() - 1
        });
        format!("{{pid {}}}", index + 1)
    }
}

/// Times are written as `@seconds.nanoseconds`.
fn is_time(text: &str) -> bool {
    text.strip_prefix('@')
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(seconds, nanos)| seconds.parse::<i64>().is_ok() && nanos.len() == 9)
}

fn without_numbers(text: &str, folder: &str, placeholder: &str) -> String {
    let mut parts = text.split(folder);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result += placeholder;
        result += part.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_replaced_and_the_rest_is_left() {
        let mut normaliser = Normaliser::new(vec![("/run/tasks".into(), "{tasks}")]);
        let mut value = json!({
            "bundle": "/run/tasks/one",
            "pid": 17,
            "processes": [{"pid": 18}, {"pid": 17}],
            "exited_at": "@1700000000.000000001",
            "exit_status": 7,
            "stdin": "/run/containerd/fifo/123/one-stdin",
        });
        normaliser.value(&mut value);
        let expected = json!({
            "bundle": "{tasks}/one",
            "pid": "{pid 1}",
            "processes": [{"pid": "{pid 2}"}, {"pid": "{pid 1}"}],
            "exited_at": "{time}",
            "exit_status": 7,
            "stdin": "{fifo}/one-stdin",
        });
        assert_eq!(value, expected);
    }
}
