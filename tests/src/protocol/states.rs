//! What a shim answers to each method of the task service in each state of a task.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::methods::{EXEC_METHODS, TASK_METHODS};

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The shim never heard of it.
    Unknown,
    /// It waits to be started.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended.
    Stopped,
    /// It has ended and is deleted.
    Deleted,
}

impl State {
    /// Every state in the order of a life.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Stopped,
        Self::Deleted,
    ];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The calls that lead to it.
    fn way(self) -> &'static [&'static str] {
        match self {
            Self::Unknown => &[],
            Self::Created => &["Create"],
            Self::Running => &["Create", "Start"],
            Self::Paused => &["Create", "Start", "Pause"],
            Self::Stopped => &["Create", "Start", "Kill", "Wait"],
            Self::Deleted => &["Create", "Start", "Kill", "Wait", "Delete"],
        }
    }

    /// The calls that lead a process to it that is executed in a task that runs. What begins with
    /// [`EXEC`] is about the process, the rest about its task.
    fn way_of_exec(self) -> &'static [&'static str] {
        match self {
            Self::Unknown => &["Create", "Start"],
            Self::Created => &["Create", "Start", "exec Exec"],
            Self::Running => &["Create", "Start", "exec Exec", "exec Start"],
            Self::Paused => &["Create", "Start", "exec Exec", "exec Start", "Pause"],
            Self::Stopped => &[
                "Create",
                "Start",
                "exec Exec",
                "exec Start",
                "exec Kill",
                "exec Wait",
            ],
            Self::Deleted => &[
                "Create",
                "Start",
                "exec Exec",
                "exec Start",
                "exec Kill",
                "exec Wait",
                "exec Delete",
            ],
        }
    }
}

/// What a method's name begins with in the table when it is called for a process that is executed in
/// a task; the states are the process's then.
const EXEC: &str = "exec ";
/// The id of such a process.
const EXEC_ID: &str = "another";

/// Every row of a table: the methods on a task, and those on a process that is executed in it.
fn rows() -> impl Iterator<Item = String> {
    let of_exec = EXEC_METHODS.iter().map(|method| format!("{EXEC}{method}"));
    TASK_METHODS.into_iter().map(str::to_owned).chain(of_exec)
}

/// For each method and state: `OK`, `BLOCKS` for a call that is not answered, or the status and
/// the message of a refusal, with `{id}` and `{bundle}` for the task's own.
pub type Table = BTreeMap<String, BTreeMap<State, String>>;

/// Reads a table from TOML; it must have every method and every state.
///
/// # Errors
///
/// When one is missing or unknown.
pub fn parse(text: &str) -> Result<Table> {
    let table: Table = toml::from_str(text).context("the table of states")?;
    for method in rows() {
        for state in State::ALL {
            table
                .get(&method)
                .and_then(|states| states.get(&state))
                .with_context(|| format!("the table has no {method} in state {}", state.name()))?;
        }
    }
    if table.len() != rows().count() {
        bail!("the table has a method that is none");
    }
    Ok(table)
}

/// How long a call is waited for that may not be answered.
const BLOCKS_AFTER: Duration = Duration::from_millis(400);
/// How long an ended task may take to be reported.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Calls every method in every state of a task of its own. `bundle` makes a bundle, whose program
/// runs until it is killed, for a task of this id.
///
/// # Errors
///
/// When a task cannot be brought to a state, or the shim hangs up.
pub fn observe(
    client: &mut Client,
    mut bundle: impl FnMut(&str) -> Result<PathBuf>,
) -> Result<Table> {
    // A shim without tasks may leave when it is asked to.
    let keeper = bundle("keeper")?;
    client
        .call("Create", &request("Create", "keeper", &keeper))?
        .expect()?;
    let mut table = Table::new();
    for method in rows() {
        let is_exec = method.starts_with(EXEC);
        let states = table.entry(method.clone()).or_default();
        for state in State::ALL {
            let name = method.replace(' ', "-").to_lowercase();
            let id = format!("{name}-{}", state.name());
            let bundle = bundle(&id)?;
            let way = match is_exec {
                true => state.way_of_exec(),
                false => state.way(),
            };
            for step in way {
                client
                    .call(method_of(step), &request(step, &id, &bundle))?
                    .expect()
                    .with_context(|| format!("{step} on the way to {id}"))?;
            }
            let pending = client.send(method_of(&method), &request(&method, &id, &bundle))?;
            let limit = if method_of(&method) == "Wait" {
                BLOCKS_AFTER
            } else {
                END_LIMIT
            };
            let answer = client.answer(&pending, limit)?;
            states.insert(state, describe(answer, &id, &bundle));
            clear(client, &id, &bundle)?;
        }
    }
    clear(client, "keeper", &keeper)?;
    Ok(table)
}

fn describe(answer: Option<Answer>, id: &str, bundle: &Path) -> String {
    match answer {
        None => "BLOCKS".to_owned(),
        Some(Answer::Response(_)) => "OK".to_owned(),
        Some(Answer::Refusal { status, message }) => {
            let bundle = bundle.display().to_string();
            let message = message.replace(&bundle, "{bundle}").replace(id, "{id}");
            format!("{status}: {message}")
        }
    }
}

/// Ends and deletes a task, whatever its state.
fn clear(client: &mut Client, id: &str, bundle: &Path) -> Result<()> {
    for method in ["Resume", "Kill"] {
        client.call(method, &request(method, id, bundle))?;
    }
    let wait = client.send("Wait", &request("Wait", id, bundle))?;
    client.answer(&wait, END_LIMIT)?;
    client.call("Delete", &request("Delete", id, bundle))?;
    Ok(())
}

/// The method that a row or a step is of.
fn method_of(row: &str) -> &str {
    row.strip_prefix(EXEC).unwrap_or(row)
}

fn request(row: &str, id: &str, bundle: &Path) -> Value {
    let mut request = request_of_task(method_of(row), id, bundle);
    if row.starts_with(EXEC) {
        request["exec_id"] = json!(EXEC_ID);
    }
    request
}

fn request_of_task(method: &str, id: &str, bundle: &Path) -> Value {
    const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/";
    match method {
        "Create" => json!({ "id": id, "bundle": bundle }),
        "Kill" => json!({ "id": id, "signal": 9 }),
        "CloseIO" => json!({ "id": id, "stdin": true }),
        "ResizePty" => json!({ "id": id, "width": 80, "height": 24 }),
        "Update" => json!({ "id": id, "resources": {
            "type_url": format!("{SPEC}LinuxResources"),
            "json": { "memory": { "limit": 64 << 20 } },
        }}),
        "Exec" => json!({ "id": id, "exec_id": EXEC_ID, "spec": {
            "type_url": format!("{SPEC}Process"),
            "json": { "args": ["/bin/sleep", "600"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
        }}),
        "Checkpoint" => json!({ "id": id, "path": bundle.join("checkpoint") }),
        _ => json!({ "id": id }),
    }
}
