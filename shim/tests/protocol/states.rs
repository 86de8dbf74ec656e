//! Every method in every state of a task, against the table in `states.toml`. The real runc shim
//! is held against the same table in a test host (`tests/tests/parity.rs`).

use anyhow::{Result, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use trireme_tests::protocol::client::Client;
use trireme_tests::protocol::methods::{TASK_V2, TASK_V3};
use trireme_tests::protocol::states;

use crate::server::Server;

/// What Trireme answers.
const TABLE: &str = include_str!("../states.toml");

/// One trial for each version of the task service.
pub fn trials() -> Vec<Trial> {
    [("v2", TASK_V2), ("v3", TASK_V3)]
        .into_iter()
        .map(|(name, service)| {
            let run = move || compare(service).map_err(|error| Failed::from(format!("{error:#}")));
            Trial::test(format!("states::{name}"), run)
        })
        .collect()
}

fn compare(service: &str) -> Result<()> {
    let expected = states::parse(TABLE)?;
    let server = Server::start()?;
    let mut client = Client::connect(&server.socket(), service)?;
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": { "args": ["/sleep.wasm"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
        "root": { "path": "rootfs" },
        "linux": { "namespaces": [{ "type": "pid" }, { "type": "mount" }] },
    });
    let observed = states::observe(&mut client, |id| server.bundle(id, spec.clone()))?;
    let mut differences = Vec::new();
    for (method, states) in &observed {
        for (state, seen) in states {
            let expected = &expected[method][state];
            if seen != expected {
                differences.push(format!(
                    "{method} in state {state:?}\n  expected {expected}\n  but got  {seen}"
                ));
            }
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}
