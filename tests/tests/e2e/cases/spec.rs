//! What only a specification of one's own can ask for: `ctr run --config`.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cases;
use crate::command::{LIMIT, Output};
use crate::mode::Mode;
use crate::test::Test;

cases! {
    as_with_runc: [
        hooks_run_outside_of_the_container,
        a_failing_hook_keeps_the_guest_from_running,
        the_hosts_network_keeps_its_parameters,
    ],
    wasm: [],
}

/// Where a case keeps what its containers need, in the host.
const FOLDER: &str = "/run/spec";

/// Runs the guest `hello` after `change` was made to the specification that `ctr` itself makes.
fn run(test: &Test<'_>, change: impl FnOnce(&mut Value)) -> Result<Output> {
    const GUEST: &str = "/hello.wasm";
    let image = test.mode.image();
    let script = format!(
        "mkdir -p {FOLDER}/mount {FOLDER}/rootfs\n\
         ctr image mount {image} {FOLDER}/mount >&2\n\
         cp {FOLDER}/mount{GUEST} {FOLDER}/rootfs/\n\
         ctr image unmount --rm {FOLDER}/mount >&2\n\
         ctr oci spec"
    );
    let made = test.exec(&["sh", "-ec", &script])?.expect(0)?;
    let mut spec: Value = serde_json::from_str(&made.stdout).context("a specification")?;
    spec["root"]["path"] = json!(format!("{FOLDER}/rootfs"));
    spec["process"]["args"] = json!([GUEST]);
    spec["linux"]["cgroupsPath"] = json!(format!("/default/{}", test.id));
    change(&mut spec);
    let mut write = test.start(&["sh", "-c", &format!("cat > {FOLDER}/config.json")])?;
    write.write(&spec.to_string())?;
    write.close_stdin();
    write.finish(LIMIT)?.expect(0)?;
    let config = format!("{FOLDER}/config.json");
    test.exec(&[
        "ctr",
        "run",
        "--rm",
        "--runtime",
        test.mode.runtime(),
        "--config",
        &config,
        &test.id,
    ])
}

/// A hook that appends its name and what it is told of the container.
fn hook(name: &str) -> Value {
    let script = format!("echo \"{name} $(cat)\" >> {FOLDER}/written");
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] })
}

/// What the hooks have written; the folder goes.
fn written(test: &Test<'_>) -> Result<Vec<(String, Value)>> {
    let script = format!("cat {FOLDER}/written; rm -r {FOLDER}");
    let output = test.exec(&["sh", "-ec", &script])?.expect(0)?;
    output
        .stdout
        .lines()
        .map(|line| {
            let (name, state) = line.split_once(' ').context("a name and a state")?;
            Ok((name.to_owned(), serde_json::from_str(state)?))
        })
        .collect()
}

fn hooks_run_outside_of_the_container(test: &Test<'_>) -> Result<()> {
    let output = run(test, |spec| {
        spec["hooks"] = json!({
            "createRuntime": [hook("createRuntime")],
            "poststart": [hook("poststart")],
            "poststop": [hook("poststop")],
        });
    })?;
    let written = written(test)?;
    let said = output.clone().expect(0)?.stdout;
    // Now and then runc's shim loses what a program has said that ends at once.
    let is_lost = test.mode == Mode::Runc && said.is_empty();
    ensure!(is_lost || said == "hello from the guest\n", "{output:?}");
    let names: Vec<_> = written.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(
        names == ["createRuntime", "poststart", "poststop"],
        "{written:?}"
    );
    for (name, state) in &written {
        let pid = state["pid"].as_u64().unwrap_or_default();
        ensure!(state["id"] == test.id.as_str(), "{name}: {state}");
        ensure!((pid > 1) == (name != "poststop"), "{name}: {state}");
    }
    ensure!(written[0].1["status"] == "creating", "{written:?}");
    Ok(())
}

fn a_failing_hook_keeps_the_guest_from_running(test: &Test<'_>) -> Result<()> {
    let output = run(test, |spec| {
        let args = ["sh", "-c", "echo no network for you >&2; exit 3"];
        spec["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": args }] });
    })?;
    test.exec(&["rm", "-r", FOLDER])?.expect(0)?;
    ensure!(output.code != 0 && output.stdout.is_empty(), "{output:?}");
    ensure!(output.stderr.contains("no network for you"), "{output:?}");
    Ok(())
}

/// A path may lead to the network namespace that the host is in.
fn the_hosts_network_keeps_its_parameters(test: &Test<'_>) -> Result<()> {
    const PARAMETER: &str = "net.ipv4.ip_unprivileged_port_start";
    let value = || test.exec(&["cat", &format!("/proc/sys/{}", PARAMETER.replace('.', "/"))]);
    let before = value()?.expect(0)?;
    let output = run(test, |spec| {
        spec["linux"]["sysctl"] = json!({ PARAMETER: "4711" });
        let namespaces = spec["linux"]["namespaces"].as_array_mut();
        for namespace in namespaces.into_iter().flatten() {
            if namespace["type"] == "network" {
                namespace["path"] = json!("/proc/1/ns/net");
            }
        }
    })?;
    test.exec(&["rm", "-r", FOLDER])?.expect(0)?;
    ensure!(output.code != 0 && output.stdout.is_empty(), "{output:?}");
    ensure!(output.stderr.contains(PARAMETER), "{output:?}");
    ensure!(value()?.stdout == before.stdout, "{before:?}");
    Ok(())
}
