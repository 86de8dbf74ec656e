//! Containers that were announced before their Create.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use trireme_container::process::ProcessId;
use trireme_container::state;
use trireme_shim::folder::STARTING;
use trireme_tests::protocol::client::Client;
use trireme_tests::protocol::methods::TASK_V2;

use crate::calls::{Case, Fixture, ID, LIMIT, clean_up, refusal, trials_of, writing};

/// One trial for each behaviour.
pub fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 6] = [
        ("create_takes_what_is_there", create_takes_what_is_there),
        (
            "a_root_of_many_layers_is_told",
            a_root_of_many_layers_is_told,
        ),
        (
            "another_specification_is_made_anew",
            another_specification_is_made_anew,
        ),
        ("delete_removes_what_is_there", delete_removes_what_is_there),
        (
            "no_hook_runs_where_no_create_came",
            no_hook_runs_where_no_create_came,
        ),
        ("hooks_run_where_create_came", hooks_run_where_create_came),
    ];
    trials_of("ahead", cases)
}

/// A container that a new server has found announced, and its process.
fn announced(hooks: impl FnOnce(&Path) -> Value) -> Result<(Fixture, ProcessId)> {
    let mut fixture = Fixture::new("/sleep.wasm", hooks)?;
    fixture.server.kill()?;
    let starting = fixture.server.folder().join(STARTING);
    fs::create_dir(&starting)?;
    fs::write(
        starting.join(ID),
        fixture.bundle.as_os_str().as_encoded_bytes(),
    )?;
    fixture.server.start_next()?;
    fixture.client = Client::connect(&fixture.server.socket(), TASK_V2)?;
    let process = first_process(&fixture)?;
    Ok((fixture, process))
}

fn first_process(fixture: &Fixture) -> Result<ProcessId> {
    let deadline = Instant::now() + LIMIT;
    loop {
        for state in state::all(&fixture.server.folder())? {
            let record = state.read().ok().flatten();
            if let Some(process) = record.and_then(|record| record.processes.first().copied()) {
                return Ok(process);
            }
        }
        ensure!(Instant::now() < deadline, "nothing was made");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn create_takes_what_is_there() -> Result<()> {
    let (mut fixture, process) = announced(|_| json!({}))?;
    let created = fixture.create()?.expect()?;
    ensure!(created["pid"] == process.pid, "{created}, not {process:?}");
    fixture.call("Start")?;
    fixture.server.end(ID)?;
    let ended = fixture.call("Wait")?;
    ensure!(ended["exitStatus"].as_u64().unwrap_or(0) == 0, "{ended}");
    fixture.call("Delete")?;
    fixture.expect_gone()
}

/// One that is longer than a message of init's link.
fn a_root_of_many_layers_is_told() -> Result<()> {
    let (mut fixture, process) = announced(|_| json!({}))?;
    let layers: Vec<_> = (0..900)
        .map(|n| {
            format!("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/{n}/fs")
        })
        .collect();
    let mut request = fixture.request();
    let options = [format!("lowerdir={}", layers.join(":"))];
    request["rootfs"] = json!([{ "type": "overlay", "source": "overlay", "options": options }]);
    let created = fixture.client.call("Create", &request)?.expect()?;
    ensure!(created["pid"] == process.pid, "{created}, not {process:?}");
    fixture.call("Delete")?;
    fixture.expect_gone()
}

fn another_specification_is_made_anew() -> Result<()> {
    let (mut fixture, process) = announced(|_| json!({}))?;
    let file = fixture.bundle.join("config.json");
    let changed = fs::read_to_string(&file)?.replace("red", "blue");
    fs::write(&file, changed)?;
    let created = fixture.create()?.expect()?;
    ensure!(created["pid"] != process.pid, "{created}");
    ensure!(process.open()?.is_none(), "{process:?} is still there");
    fixture.call("Start")?;
    fixture.server.end(ID)?;
    fixture.call("Wait")?;
    fixture.call("Delete")?;
    fixture.expect_gone()
}

fn delete_removes_what_is_there() -> Result<()> {
    let (mut fixture, process) = announced(|_| json!({}))?;
    let message = refusal(fixture.client.call("Delete", &json!({ "id": ID }))?)?;
    ensure!(message.contains("not created"), "{message}");
    ensure!(process.open()?.is_none(), "{process:?} is still there");
    fixture.expect_gone()
}

fn no_hook_runs_where_no_create_came() -> Result<()> {
    let (mut fixture, _) = announced(poststop)?;
    is_lost(&mut fixture)?;
    ensure!(fixture.names()?.is_empty(), "{:?}", fixture.names()?);
    fixture.expect_gone()
}

fn hooks_run_where_create_came() -> Result<()> {
    let (mut fixture, process) = announced(poststop)?;
    let created = fixture.create()?.expect()?;
    ensure!(created["pid"] == process.pid, "{created}, not {process:?}");
    is_lost(&mut fixture)?;
    ensure!(fixture.names()? == ["poststop"], "{:?}", fixture.names()?);
    fixture.expect_gone()
}

fn poststop(bundle: &Path) -> Value {
    json!({ "poststop": [writing(bundle, "poststop")] })
}

/// The server is killed, and containerd cleans up.
fn is_lost(fixture: &mut Fixture) -> Result<()> {
    let state = fixture.server.folder().join("default").join(ID);
    trireme_core::bundle::link(&fixture.bundle, &state).context("link the bundle")?;
    fixture.server.kill()?;
    clean_up(fixture)
}
