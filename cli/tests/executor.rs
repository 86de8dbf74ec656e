//! What the executor is asked and how its answers are passed on, with a shell
//! script in its place.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of tests may panic as tests may"
)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use common::{MODULE, Place, failed, install, succeeded};
use serde_json::{Value, json};

/// Prints what it was asked.
const ECHO: &str = "cat /proc/self/fd/$3";

fn asked(place: &Place, args: &[&str]) -> Value {
    let echo = place.script("echo", ECHO);
    let output = place.with_executor(&echo, args).output().unwrap();
    serde_json::from_str(&succeeded(output)).unwrap()
}

#[test]
fn run_asks_for_the_handler_s_engine_with_everything_given() {
    let place = Place::new();
    place.write("x.wasm", MODULE);
    place.write(
        "config.toml",
        "[engines.edge]\nplugin = \"/e.so\"\n[handlers.h]\nengine = \"edge\"\n\
         limits = { fuel = 9 }\nsettings = { fast = true }\n[cache]\ndir = \"/tmp/c\"\n",
    );
    let request = asked(
        &place,
        &[
            "run",
            "--config",
            "config.toml",
            "--handler",
            "h",
            "--dir",
            ".:/data:ro",
            "--env",
            "K=V",
            "--env",
            "HOME",
            "--invoke",
            "main",
            "x.wasm",
            "--env",
            "-x",
            "--",
        ],
    );
    assert_eq!(
        request["engine"],
        json!({
            "handler": "h", "engine": "edge", "plugin": "/e.so", "settings": {"fast": true},
            "limits": {"memory": null, "table": null, "stack": null, "fuel": 9},
            "config": "config.toml", "plugins": ["edge"],
        })
    );
    assert_eq!(request["file"], "x.wasm");
    assert_eq!(request["invoke"], "main");
    assert_eq!(request["args"], json!(["x.wasm", "--env", "-x", "--"]));
    assert_eq!(
        request["env"],
        json!([
            [
                "HOME",
                place.path("").to_str().unwrap().trim_end_matches('/')
            ],
            ["K", "V"]
        ])
    );
    assert_eq!(
        request["directories"],
        json!([{"host": ".", "guest": "/data", "read_only": true}])
    );
}

#[test]
fn run_with_an_engine_takes_its_plugin_and_no_handler_s_settings() {
    let place = Place::new();
    place.write("x.wasm", MODULE);
    place.write("config.toml", "[engines.edge]\nplugin = \"/e.so\"\n");
    let request = asked(
        &place,
        &[
            "run",
            "--config",
            "config.toml",
            "--engine",
            "edge",
            "x.wasm",
        ],
    );
    assert_eq!(request["engine"]["engine"], "edge");
    assert_eq!(request["engine"]["plugin"], "/e.so");
    assert_eq!(request["engine"]["settings"], json!({}));
    let both = ["run", "--engine", "edge", "--handler", "wasm", "x.wasm"];
    assert_eq!(
        place.trireme(&both).output().unwrap().status.code(),
        Some(125)
    );
}

#[test]
fn the_cache_is_root_s_configured_one_or_the_user_s_own() {
    let place = Place::new();
    place.write("x.wasm", MODULE);
    let config = place.config();
    let request = asked(
        &place,
        &["run", "--config", config.to_str().unwrap(), "x.wasm"],
    );
    let root = rustix::process::geteuid().is_root();
    let expected = if root {
        "cache"
    } else {
        ".cache/trireme/precompiled"
    };
    assert_eq!(
        request["cache"]["dir"],
        place.path(expected).to_str().unwrap()
    );
}

#[test]
fn the_request_is_sealed() {
    let place = Place::new();
    place.write("x.wasm", MODULE);
    let body = "if echo x 2>/dev/null >>/proc/self/fd/$3; then exit 1; fi; cat /proc/self/fd/$3";
    let script = place.script("write", body);
    let output = place
        .with_executor(&script, &["run", "x.wasm"])
        .output()
        .unwrap();
    serde_json::from_str::<Value>(&succeeded(output)).unwrap();
}

#[test]
fn run_ends_as_the_guest_ends_with_the_guest_s_own_stdio() {
    let place = Place::new();
    place.write("x.wasm", MODULE);
    let script = place.script("exit", "tr a-z A-Z; echo said >&2; exit 7");
    let mut child = place
        .with_executor(&script, &["run", "x.wasm"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"HELLO"[..], &b"said\n"[..])
    );

    let script = place.script("signal", "kill -TERM $$");
    let output = place
        .with_executor(&script, &["run", "x.wasm"])
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(15));
}

#[test]
fn engines_passes_on_the_configured_plugins_and_prints_the_reports() {
    let place = Place::new();
    place.write(
        "config.toml",
        "[engines.edge]\nplugin = \"/e.so\"\n[engines.linked]\n",
    );
    let reports = json!([
        {"name": "wasmtime", "origin": "linked in", "state": "ready", "version": "1",
         "kinds": ["module"], "wasi": ["0.1"], "limits": ["fuel"], "settings": [], "build": "b"},
        {"name": "edge", "origin": "/e.so", "state": "missing", "reason": "it is not a file"},
    ]);
    place.write("reports.json", reports.to_string());
    let script = place.script("probe", &format!("{ECHO} > asked.json; cat reports.json"));
    let run = |args: &[&str]| succeeded(place.with_executor(&script, args).output().unwrap());
    let text = run(&["engines", "--config", "config.toml"]);
    let asked = fs::read_to_string(place.path("asked.json")).unwrap();
    assert_eq!(asked, r#"{"plugins":{"edge":"/e.so"}}"#);
    assert!(
        text.contains("edge is not there (/e.so): it is not a file\n"),
        "{text}"
    );
    let parsed: Value = serde_json::from_str(&run(&["engines", "--json"])).unwrap();
    assert_eq!(parsed, reports);
    assert!(run(&["engines", "--settings"]).starts_with("wasmtime takes no settings\n"));
}

#[test]
fn compile_prints_a_line_a_file_and_goes_on_after_one_that_fails() {
    let place = Place::new();
    for name in ["a.wasm", "b.wasm", "c.wasm"] {
        place.write(name, MODULE);
    }
    let script = place.script(
        "precompile",
        r#"case $(cat /proc/self/fd/$3) in
*b.wasm*) echo "trireme-executor: it does not validate" >&2; exit 1;;
*) echo '{"wasm": "ab", "key": "k", "size": 2048, "cached": false}';;
esac"#,
    );
    let compile = |args: &[&str]| place.with_executor(&script, args).output().unwrap();
    let output = compile(&["compile", "a.wasm", "b.wasm", "c.wasm"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "a.wasm: sha256:ab key k, 2.0 KiB, compiled\nc.wasm: sha256:ab key k, 2.0 KiB, compiled\n"
    );
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "trireme: b.wasm: it does not validate\n\
         trireme: 1 of 3 programs could not be compiled\n"
    );
    let json: Value =
        serde_json::from_str(&succeeded(compile(&["compile", "--json", "a.wasm"]))).unwrap();
    assert_eq!(
        json,
        json!([{"file": "a.wasm", "wasm": "ab", "key": "k", "size": 2048, "cached": false}])
    );
}

#[test]
fn an_executor_of_another_version_is_suspected_when_its_answer_makes_no_sense() {
    let place = Place::new();
    let script = place.script("odd", "echo hello");
    let message = failed(place.with_executor(&script, &["engines"]).output().unwrap());
    assert!(message.contains("are both of one version?"), "{message}");
    let script = place.script("silent", "exit 3");
    let message = failed(place.with_executor(&script, &["engines"]).output().unwrap());
    assert!(
        message.ends_with("silent probe failed: exit status: 3"),
        "{message}"
    );
}

#[test]
fn the_executor_is_found_beside_the_binary_s_real_path_and_in_libexec() {
    let place = Place::new();
    let config = place.config();
    for (binary, executor) in [
        ("a/trireme", "a/trireme-executor"),
        ("b/bin/trireme", "b/libexec/trireme/trireme-executor"),
    ] {
        for file in [binary, executor] {
            fs::create_dir_all(place.path(file).parent().unwrap()).unwrap();
        }
        install(
            Path::new(env!("CARGO_BIN_EXE_trireme")),
            &place.path(binary),
        );
        place.script(executor, "echo '[]'");
        let link = place.path("link");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(place.path(binary), &link).unwrap();
        let output = std::process::Command::new(&link)
            .args(["engines", "--json", "--config"])
            .arg(&config)
            .env_remove("TRIREME_EXECUTOR")
            .output()
            .unwrap();
        assert_eq!(succeeded(output), "[]\n", "{executor}");
    }
}
