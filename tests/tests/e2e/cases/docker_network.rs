//! `docker`: guests and programs of Linux on the same networks.
//!
//! What talks is one program, built as a component and for Linux.

use anyhow::{Result, ensure};

use super::cases;
use super::docker::remove;
use crate::test::Test;

cases! {
    needs: Docker,
    as_with_runc: [
        docker_guests_and_linux_talk_by_name,
        docker_publishes_a_port,
        docker_guests_look_names_up,
        docker_without_a_network_leaves_loopback,
    ],
    wasm: [],
}

const LINUX: &str = "trireme.test/native:latest";
const PORT: &str = "7000";

/// Starts a server with the words of `docker run` up to its image, and waits until it listens.
fn serve(test: &Test<'_>, name: &str, words: &[&str]) -> Result<()> {
    let start = [
        "run",
        "--detach",
        "--name",
        name,
        "--entrypoint",
        "/talk.wasm",
    ];
    test.docker(&[&start, words, &["serve", PORT]].concat())?;
    let mut logs = test.start(&["docker", "logs", "--follow", name])?;
    logs.wait_for("listening\n")
}

/// Asks a server by its name with the words of `docker run` up to its image.
fn ask(test: &Test<'_>, name: &str, words: &[&str]) -> Result<()> {
    let start = ["docker", "run", "--rm", "--entrypoint", "/talk.wasm"];
    let output = test
        .exec(&[&start, words, &["ask", name, PORT, "ahoy"]].concat())?
        .expect(0)?;
    ensure!(output.stdout == "aye, ahoy\n", "{output:?}");
    Ok(())
}

fn docker_guests_and_linux_talk_by_name(test: &Test<'_>) -> Result<()> {
    let network = format!("sea-of-{}", test.id);
    let linux = ["--network", &network, LINUX];
    let guest = [
        "--network",
        &network,
        "--runtime",
        test.mode.runtime(),
        test.mode.image(),
    ];
    let server = format!("{}-linux", test.id);
    test.docker(&["network", "create", &network])?;
    serve(test, &test.id, &guest)?;
    serve(test, &server, &linux)?;
    ask(test, &test.id, &linux)?;
    ask(test, &test.id, &guest)?;
    ask(test, &server, &guest)?;
    let heard = test.docker(&["logs", &test.id])?;
    ensure!(heard == "listening\nheard ahoy\nheard ahoy", "{heard}");
    test.docker(&["rm", "--force", &server])?;
    remove(test)?;
    test.docker(&["network", "rm", &network])?;
    Ok(())
}

fn docker_publishes_a_port(test: &Test<'_>) -> Result<()> {
    let guest = ["--runtime", test.mode.runtime(), test.mode.image()];
    let publish = ["--publish", "127.0.0.1:18080:7000"];
    serve(test, &test.id, &[&publish[..], &guest].concat())?;
    let port = test.docker(&["port", &test.id])?;
    ensure!(port == "7000/tcp -> 127.0.0.1:18080", "{port}");
    let script = "exec 3<>/dev/tcp/127.0.0.1/18080; echo ahoy >&3; cat <&3";
    let output = test.exec(&["bash", "-ec", script])?.expect(0)?;
    ensure!(output.stdout == "aye, ahoy\n", "{output:?}");
    remove(test)
}

fn docker_guests_look_names_up(test: &Test<'_>) -> Result<()> {
    let flags = ["--rm", "--hostname=mast", "--add-host=harbour:10.9.8.7"];
    let guest = ["/talk.wasm", "names", "harbour", "HARBOUR", "127.0.0.3"];
    let output = test.docker_run(&flags, &guest)?.expect(0)?;
    let expected = "harbour: 10.9.8.7\nHARBOUR: 10.9.8.7\n127.0.0.3: 127.0.0.3\n";
    ensure!(output.stdout == expected, "{output:?}");
    Ok(())
}

fn docker_without_a_network_leaves_loopback(test: &Test<'_>) -> Result<()> {
    let flags = ["--rm", "--network", "none"];
    for (address, error) in [
        ("127.0.0.1", "connect: connection-refused\n"),
        ("172.17.0.1", "connect: remote-unreachable\n"),
    ] {
        let guest = ["/talk.wasm", "ask", address, PORT, "ahoy"];
        let output = test.docker_run(&flags, &guest)?.expect(1)?;
        ensure!(output.stdout == error, "{output:?}");
    }
    Ok(())
}
