//! Processes beside a container's first one: the events that containerd is told, in their order,
//! and what is written of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use trireme_tests::protocol::client::{Answer, Client};
use trireme_tests::protocol::methods::TASK_V2;

use crate::calls::{ID, LIMIT, exec_request, refusal};
use crate::executor::{DEAF, NEVER, NOTHING};
use crate::server::Server;

type Case = fn(&mut Fixture) -> Result<()>;

/// One trial for each behaviour, in a container with a pid namespace and in one without.
pub fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 6] = [
        ("one_is_started_once", one_is_started_once),
        ("init_is_the_last_to_end", init_is_the_last_to_end),
        (
            "one_that_runs_is_written_down",
            one_that_runs_is_written_down,
        ),
        (
            "one_that_cannot_start_has_ended",
            one_that_cannot_start_has_ended,
        ),
        (
            "one_that_cannot_be_let_run_is_reaped",
            one_that_cannot_be_let_run_is_reaped,
        ),
        (
            "one_on_its_way_ends_with_init",
            one_on_its_way_ends_with_init,
        ),
    ];
    let trial = |name: &str, namespaces: &'static [&'static str], case: Case| {
        let run = move || {
            Fixture::new(namespaces)
                .and_then(|mut fixture| case(&mut fixture))
                .map_err(|error| Failed::from(format!("{error:#}")))
        };
        Trial::test(format!("execs::{name}"), run)
    };
    cases
        .into_iter()
        .flat_map(|(name, case)| {
            [
                trial(&format!("own_pids::{name}"), &["pid", "mount"], case),
                trial(&format!("host_pids::{name}"), &["mount"], case),
            ]
        })
        .collect()
}

/// A server with a container that runs.
struct Fixture {
    server: Server,
    client: Client,
}

impl Fixture {
    fn new(namespaces: &[&str]) -> Result<Self> {
        let server = Server::start()?;
        let namespaces: Vec<_> = namespaces
            .iter()
            .map(|typ| json!({ "type": typ }))
            .collect();
        let spec = json!({
            "ociVersion": "1.0.2",
            "process": { "args": ["/sleep.wasm"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
            "root": { "path": "rootfs" },
            "linux": { "namespaces": namespaces },
        });
        let bundle: PathBuf = server.bundle(ID, spec)?;
        let mut client = Client::connect(&server.socket(), TASK_V2)?;
        let create = json!({ "id": ID, "bundle": bundle });
        client.call("Create", &create)?.expect()?;
        client.call("Start", &json!({ "id": ID }))?.expect()?;
        Ok(Self { server, client })
    }

    fn exec(&mut self, exec_id: &str, program: &str) -> Result<()> {
        let spec = json!({ "args": [program], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        let request = exec_request(exec_id, &spec);
        self.client.call("Exec", &request)?.expect()?;
        Ok(())
    }

    fn call(&mut self, method: &str, exec_id: &str) -> Result<Answer> {
        let request = match method {
            "Kill" => json!({ "id": ID, "exec_id": exec_id, "signal": 9 }),
            _ => json!({ "id": ID, "exec_id": exec_id }),
        };
        self.client.call(method, &request)
    }

    /// The topics of the events up to init's end, and the id where one is of a process.
    fn events(&self) -> Result<Vec<(String, String)>> {
        let mut events = Vec::new();
        loop {
            let event = self.server.events.next(LIMIT).context("no exit of init")?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (topic, event) = (text(&event["topic"]), &event["event"]["message"]);
            let id = match event.get("exec_id").unwrap_or(&event["id"]) {
                Value::String(id) => id.clone(),
                _ => String::new(),
            };
            let last = topic == "/tasks/exit" && id == ID;
            events.push((topic, id));
            if last {
                return Ok(events);
            }
        }
    }

    fn written(&self) -> Result<usize> {
        let states = trireme_container::state::all(&self.server.folder())?;
        let record = states.first().context("no state")?.read()?;
        Ok(record.context("no record")?.processes.len())
    }
}

fn init_is_the_last_to_end(fixture: &mut Fixture) -> Result<()> {
    fixture.exec("first", "/sleep.wasm")?;
    fixture.exec("second", "/sleep.wasm")?;
    fixture.exec("never", "/sleep.wasm")?;
    fixture.call("Start", "first")?.expect()?;
    fixture.call("Start", "second")?.expect()?;
    fixture.call("Kill", "first")?.expect()?;
    fixture.call("Wait", "first")?.expect()?;
    fixture.call("Kill", "")?.expect()?;
    fixture.call("Wait", "")?.expect()?;
    let message = refusal(fixture.call("Start", "never")?)?;
    ensure!(message.contains("is not running"), "{message}");
    let events = fixture.events()?;
    let seen: Vec<_> = events
        .iter()
        .map(|(topic, id)| (topic.trim_start_matches("/tasks/"), id.as_str()))
        .collect();
    let expected = [
        ("create", ""),
        ("start", ""),
        ("exec-added", "first"),
        ("exec-added", "second"),
        ("exec-added", "never"),
        ("exec-started", "first"),
        ("exec-started", "second"),
        ("exit", "first"),
        ("exit", "second"),
        ("exit", ID),
    ];
    ensure!(seen == expected, "{seen:?}");
    fixture.call("Delete", "")?.expect()?;
    Ok(())
}

fn one_is_started_once(fixture: &mut Fixture) -> Result<()> {
    fixture.exec("first", "/sleep.wasm")?;
    fixture.call("Start", "first")?.expect()?;
    let refused = |answer: Answer, words: &str| match answer {
        Answer::Refusal { message, .. } if message == words => Ok(()),
        other => bail!("{other:?}"),
    };
    let again = fixture.call("Start", "first")?;
    refused(again, "cannot start a running process")?;
    fixture.call("Kill", "first")?.expect()?;
    fixture.call("Wait", "first")?.expect()?;
    let again = fixture.call("Start", "first")?;
    refused(again, "cannot start a stopped process")
}

fn one_that_runs_is_written_down(fixture: &mut Fixture) -> Result<()> {
    fixture.exec("first", "/sleep.wasm")?;
    ensure!(fixture.written()? == 1, "{}", fixture.written()?);
    fixture.call("Start", "first")?.expect()?;
    ensure!(fixture.written()? == 2, "{}", fixture.written()?);
    fixture.call("Kill", "first")?.expect()?;
    fixture.call("Wait", "first")?.expect()?;
    ensure!(fixture.written()? == 1, "{}", fixture.written()?);
    Ok(())
}

fn one_that_cannot_start_has_ended(fixture: &mut Fixture) -> Result<()> {
    fixture.exec("first", NOTHING)?;
    let message = refusal(fixture.call("Start", "first")?)?;
    ensure!(message.contains("no such file"), "{message}");
    let wait = fixture.call("Wait", "first")?.expect()?;
    ensure!(wait["exit_status"] == 255, "{wait}");
    fixture.call("Delete", "first")?.expect()?;
    ensure!(fixture.written()? == 1, "{}", fixture.written()?);
    Ok(())
}

/// Its namespace's first process could not end before it.
fn one_that_cannot_be_let_run_is_reaped(fixture: &mut Fixture) -> Result<()> {
    fixture.exec("first", DEAF)?;
    let message = refusal(fixture.call("Start", "first")?)?;
    ensure!(message.contains("is gone"), "{message}");
    ensure!(fixture.written()? == 1, "{}", fixture.written()?);
    let wait = fixture.call("Wait", "first")?.expect()?;
    ensure!(wait["exit_status"] == 255, "{wait}");
    fixture.call("Kill", "")?.expect()?;
    fixture.call("Wait", "")?.expect()?;
    fixture.call("Delete", "")?.expect()?;
    Ok(())
}

fn one_on_its_way_ends_with_init(fixture: &mut Fixture) -> Result<()> {
    fixture.exec("first", NEVER)?;
    let start = json!({ "id": ID, "exec_id": "first" });
    let pending = fixture.client.send("Start", &start)?;
    let none = fixture
        .client
        .answer(&pending, Duration::from_millis(200))?;
    ensure!(none.is_none(), "{none:?}");
    fixture.call("Kill", "")?.expect()?;
    let refused = fixture.client.answer(&pending, LIMIT)?;
    ensure!(
        matches!(refused, Some(Answer::Refusal { .. })),
        "{refused:?}"
    );
    fixture.call("Wait", "")?.expect()?;
    fixture.call("Delete", "")?.expect()?;
    let left = trireme_container::state::all(&fixture.server.folder())?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
