//! Pods, as Kubernetes asks for them, with the configuration in `deploy/containerd`.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::cases;
use crate::command::LIMIT;
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Cri,
    as_with_runc: [],
    wasm: [
        containerd_takes_the_configuration,
        containers_of_linux_run_in_pods_beside,
    ],
}

fn containerd_takes_the_configuration(test: &Test<'_>) -> Result<()> {
    let dump = test.exec(&["containerd", "config", "dump"])?.expect(0)?;
    // Versions differ in the sort of quotes.
    let text = dump.stdout.replace('\'', "\"");
    for handler in ["wasm", "wasmtime", "wasm-node"] {
        let line = format!("runtime_type = \"io.containerd.{handler}.v1\"");
        ensure!(text.contains(&line), "no {line}: {dump:?}");
    }
    ensure!(text.contains("restrict_oom_score_adj = true"), "{dump:?}");
    let info = test.exec(&["crictl", "info"])?.expect(0)?;
    ensure!(info.stdout.contains("\"wasm-node\""), "{info:?}");
    Ok(())
}

fn crictl(test: &Test<'_>, words: &[&str]) -> Result<String> {
    let output = test.exec(&[&["crictl"], words].concat())?.expect(0)?;
    Ok(output.stdout.trim().to_owned())
}

fn containers_of_linux_run_in_pods_beside(test: &Test<'_>) -> Result<()> {
    let id = &test.id;
    let folder = format!("/run/pods-of-{id}");
    let image = Mode::Runc.image();
    let make = format!(
        r#"mkdir -p {folder}
echo '{{ "metadata": {{ "name": "{id}", "namespace": "default", "uid": "{id}", "attempt": 1 }},
    "log_directory": "{folder}", "linux": {{}} }}' > {folder}/pod.json
echo '{{ "metadata": {{ "name": "guest" }}, "image": {{ "image": "{image}" }},
    "command": ["/exit.wasm"], "args": ["7"], "log_path": "seven", "linux": {{}} }}' > {folder}/seven.json
echo '{{ "metadata": {{ "name": "hello" }}, "image": {{ "image": "{image}" }},
    "log_path": "hello", "linux": {{}} }}' > {folder}/hello.json"#
    );
    test.exec(&["bash", "-euc", &make])?.expect(0)?;
    let file = |name: &str| format!("{folder}/{name}.json");
    let pod = crictl(test, &["runp", "--runtime", "runc", &file("pod")])?;
    let result = run_in(test, &pod, &file("pod"), &file("seven"), 7)
        .and_then(|_| run_in(test, &pod, &file("pod"), &file("hello"), 0));
    let logs = result.and_then(|container| crictl(test, &["logs", &container]));
    crictl(test, &["rmp", "--force", &pod])?;
    test.exec(&["rm", "-r", &folder])?.expect(0)?;
    let logs = logs?;
    ensure!(logs == "hello from the guest", "{logs}");
    Ok(())
}

/// Runs a container of the pod to its end, which must be this code.
fn run_in(test: &Test<'_>, pod: &str, config: &str, container: &str, code: i32) -> Result<String> {
    let id = crictl(test, &["create", pod, container, config])?;
    crictl(test, &["start", &id])?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let template = "{{.status.state}} {{.status.exitCode}}";
        let words = ["inspect", "--output", "go-template", "--template", template];
        let seen = crictl(test, &[&words[..], &[&id]].concat())?;
        if seen == format!("CONTAINER_EXITED {code}") {
            return Ok(id);
        }
        ensure!(
            seen.starts_with("CONTAINER_RUNNING") && Instant::now() < deadline,
            "{seen}"
        );
    }
}
