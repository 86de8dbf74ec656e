//! What goes in and out of containers: logs, commands, terminals' streams, ports, files.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::super::cases;
use super::{Cluster, sidecar};
use crate::command::{LIMIT, Output, Running};
use crate::test::Test;

cases! {
    needs: Kube,
    as_with_runc: [
        logs_are_read_and_followed,
        a_pod_is_described,
        commands_are_executed_with_their_streams_and_codes,
        a_shell_is_executed_with_its_streams_terminal_and_code,
        files_are_copied_to_and_from_a_container,
        a_running_container_is_attached_to,
        a_terminal_is_attached_to,
        ports_are_forwarded_to_a_guest_and_a_sidecar,
    ],
    wasm: [
        a_function_is_executed,
        files_are_copied_to_and_from_a_sidecar,
    ],
}

fn logs_are_read_and_followed(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        cluster.running_pod("clock", cluster.guest("clock", &["/tick.wasm"]))?;
        let mut follower = cluster.start(&["logs", "--follow", "clock"])?;
        follower.wait_for("\n9\n")?;
        let tail = cluster.kubectl(&["logs", "--tail=1", "--timestamps", "clock"])?;
        let (time, count) = tail.split_once(' ').with_context(|| tail.clone())?;
        ensure!(time.starts_with("20") && time.contains('T'), "{tail}");
        ensure!(count.parse::<u64>().is_ok(), "{tail}");
        let whole = cluster.kubectl(&["logs", "clock"])?;
        let in_order = whole.lines().enumerate();
        for (number, line) in in_order {
            ensure!(line == number.to_string(), "line {number} is `{line}`");
        }
        // Who follows is told the end.
        cluster.kubectl(&["delete", "pod", "clock", "--wait=false"])?;
        follower.finish(LIMIT)?.expect(0)?;
        Ok(())
    })
}

fn a_pod_is_described(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        cluster.running_pod("deck", cluster.guest("deck", &["/sleep.wasm", "1000"]))?;
        cluster.wait_for_event("deck", "Container started")?;
        let shown = cluster.kubectl(&["describe", "pod", "deck"])?;
        let words: Vec<_> = shown.split_whitespace().collect();
        let words = words.join(" ");
        for told in [
            "Status: Running",
            "Container ID: containerd://",
            "Command: /sleep.wasm 1000",
            "State: Running",
            "Ready: True",
            "Restart Count: 0",
            "Container created",
        ] {
            ensure!(words.contains(told), "no `{told}` in\n{shown}");
        }
        Ok(())
    })
}

fn commands_are_executed_with_their_streams_and_codes(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        cluster.running_pod("deck", cluster.guest("deck", &["/sleep.wasm", "1000"]))?;
        let streams = execute(cluster, &["/streams.wasm"])?.expect(0)?;
        ensure!(streams.stdout == "to stdout\n", "{streams:?}");
        ensure!(streams.stderr == "to stderr\n", "{streams:?}");
        execute(cluster, &["/exit.wasm", "7"])?.expect(7)?;
        let mut cat = cluster.start(&["exec", "--stdin", "deck", "--", "/cat.wasm"])?;
        cat.write("ahoy\n")?;
        cat.close_stdin();
        let cat = cat.finish(LIMIT)?.expect(0)?;
        ensure!(cat.stdout == "ahoy\n", "{cat:?}");
        ensure!(cat.stderr.contains("after 5 bytes"), "{cat:?}");
        let told = on_terminal(cluster, "/isatty.wasm")?.finish(LIMIT)?;
        let told = told.expect(0)?.stdout;
        for stream in 0..3 {
            ensure!(told.contains(&format!("{stream} terminal")), "{told}");
        }
        Ok(())
    })
}

fn a_function_is_executed(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        cluster.running_pod("deck", cluster.guest("deck", &["/sleep.wasm", "1000"]))?;
        let other = execute(cluster, &["/tiny.wasm#other"])?.expect(0)?;
        ensure!(other.stderr == "tiny\n", "{other:?}");
        let absent = execute(cluster, &["/tiny.wasm#mutiny"])?;
        let reason = "no exported function \"mutiny\"";
        ensure!(
            absent.code != 0 && absent.stderr.contains(reason),
            "{absent:?}"
        );
        Ok(())
    })
}

/// Executes a program in the pod `deck` to its end.
fn execute(cluster: &Cluster<'_>, program: &[&str]) -> Result<Output> {
    let words = [&["exec", "deck", "--"], program].concat();
    cluster.start(&words)?.finish(LIMIT)
}

/// Starts to execute a program in the pod `deck`, with a terminal on either side.
fn on_terminal(cluster: &Cluster<'_>, program: &str) -> Result<Running> {
    with_terminal(
        cluster,
        &["exec", "--stdin", "--tty", "deck", "--", program],
    )
}

/// Starts `kubectl` where a person would.
fn with_terminal(cluster: &Cluster<'_>, words: &[&str]) -> Result<Running> {
    let line = cluster.words(words).join(" ");
    cluster.test.start(&["script", "-qec", &line, "/dev/null"])
}

fn a_shell_is_executed_with_its_streams_terminal_and_code(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        cluster.running_pod("deck", cluster.guest("deck", &["/sleep.wasm", "1000"]))?;
        let script = "read word; echo $word; echo to stderr >&2; exit 7";
        let words = ["exec", "--stdin", "deck", "--", "/bin/sh", "-c", script];
        let mut shell = cluster.start(&words)?;
        shell.write("ahoy\n")?;
        let shell = shell.finish(LIMIT)?.expect(7)?;
        ensure!(shell.stdout == "ahoy\n", "{shell:?}");
        ensure!(shell.stderr.starts_with("to stderr\n"), "{shell:?}");
        let mut shell = on_terminal(cluster, "/bin/sh")?;
        shell.wait_for("# ")?;
        shell.write("busybox tty; echo $((6 * 7))\n")?;
        shell.wait_for("\n42")?;
        shell.write("exit 7\n")?;
        let shell = shell.finish(LIMIT)?.expect(7)?;
        ensure!(shell.stdout.contains("/dev/pts/0"), "{shell:?}");
        Ok(())
    })
}

fn files_are_copied_to_and_from_a_container(test: &Test<'_>) -> Result<()> {
    const FROM: &str = "/etc/trireme/config.toml";
    const BACK: &str = "/run/copied-back-from-guest";
    Cluster::with(test, |cluster| {
        cluster.running_pod("deck", cluster.guest("deck", &["/sleep.wasm", "1000"]))?;
        cluster.kubectl(&["cp", FROM, "deck:/work/copied"])?;
        cluster.kubectl(&["cp", "deck:/work/copied", BACK])?;
        test.exec(&["cmp", FROM, BACK])?.expect(0)?;
        test.exec(&["rm", BACK])?.expect(0)?;
        Ok(())
    })
}

/// Makes the pod `echo`, which says what it is told once, and for which these keys are true.
fn echoing_pod(cluster: &Cluster<'_>, keys: &[&str]) -> Result<()> {
    let mut echo = cluster.guest("echo", &["/cat.wasm"]);
    for key in keys {
        echo[*key] = json!(true);
    }
    let containers = json!([echo]);
    cluster.pod(
        "echo",
        json!({ "containers": containers, "restartPolicy": "Never" }),
    )?;
    cluster.wait("pod/echo", "condition=Ready")
}

fn a_running_container_is_attached_to(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        echoing_pod(cluster, &["stdin", "stdinOnce"])?;
        let mut attached = cluster.start(&["attach", "--stdin", "echo"])?;
        attached.write("ahoy\n")?;
        attached.wait_for("ahoy\n")?;
        attached.close_stdin();
        let attached = attached.finish(LIMIT)?.expect(0)?;
        ensure!(attached.stdout == "ahoy\n", "{attached:?}");
        cluster.wait("pod/echo", "jsonpath={.status.phase}=Succeeded")?;
        let logs = cluster.kubectl(&["logs", "echo"])?;
        ensure!(logs == "ahoy\nend of input after 5 bytes", "{logs}");
        Ok(())
    })
}

fn a_terminal_is_attached_to(test: &Test<'_>) -> Result<()> {
    const END: &str = "\x04";
    Cluster::with(test, |cluster| {
        echoing_pod(cluster, &["stdin", "stdinOnce", "tty"])?;
        let mut attached = with_terminal(cluster, &["attach", "--stdin", "--tty", "echo"])?;
        attached.wait_for("If you don't see a command prompt")?;
        attached.write("ahoy\n")?;
        // By the terminal, and by the guest.
        attached.wait_for("ahoy\r\nahoy\r\n")?;
        attached.write(END)?;
        attached.finish(LIMIT)?.expect(0)?;
        cluster.wait("pod/echo", "jsonpath={.status.phase}=Succeeded")?;
        let logs = cluster.kubectl(&["logs", "echo"])?;
        ensure!(logs.contains("end of input after 5 bytes"), "{logs}");
        Ok(())
    })
}

fn ports_are_forwarded_to_a_guest_and_a_sidecar(test: &Test<'_>) -> Result<()> {
    Cluster::with(test, |cluster| {
        let server = cluster.guest("server", &["/talk.wasm", "serve", "8080"]);
        let beside = sidecar(&["/talk.wasm", "serve", "8081"]);
        let containers = json!([server, beside]);
        cluster.pod("server", json!({ "containers": containers }))?;
        cluster.wait("pod/server", "condition=Ready")?;
        let client = test.host.guests()?.join("native/talk");
        let client = client.to_str().context("a path that is not UTF-8")?;
        let mut forward = cluster.start(&["port-forward", "pod/server", ":8080", ":8081"])?;
        for inside in ["8080", "8081"] {
            let end = format!(" -> {inside}");
            forward.wait_for(&end)?;
            let seen = forward.seen();
            let port = seen.lines().find_map(|line| {
                let line = line.strip_suffix(&end)?;
                line.strip_prefix("Forwarding from 127.0.0.1:")
            });
            let port = port.with_context(|| seen.clone())?;
            for word in ["ahoy", "again"] {
                let output = test.exec(&[client, "ask", "127.0.0.1", port, word])?;
                let output = output.expect(0)?;
                ensure!(output.stdout == format!("aye, {word}\n"), "{output:?}");
            }
        }
        Ok(())
    })
}

fn files_are_copied_to_and_from_a_sidecar(test: &Test<'_>) -> Result<()> {
    const FROM: &str = "/etc/trireme/config.toml";
    const BACK: &str = "/run/copied-back";
    Cluster::with(test, |cluster| {
        let guest = cluster.guest("guest", &["/sleep.wasm", "1000"]);
        let containers = json!([guest, sidecar(&["/bin/sleep", "1000"])]);
        cluster.pod("ship", json!({ "containers": containers }))?;
        cluster.wait("pod/ship", "condition=Ready")?;
        let to = ["cp", "--container=sidecar", FROM, "ship:/work/copied"];
        cluster.kubectl(&to)?;
        let back = ["cp", "--container=sidecar", "ship:/work/copied", BACK];
        cluster.kubectl(&back)?;
        test.exec(&["cmp", FROM, BACK])?.expect(0)?;
        test.exec(&["rm", BACK])?.expect(0)?;
        Ok(())
    })
}
