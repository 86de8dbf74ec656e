//! Docker in a host that has it: on the host's own containerd, with images in its store.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Instance;
use super::daemon::{Daemon, Ready, START_LIMIT, Status, in_host};

/// Docker's daemon; its log is at level debug.
pub const DAEMON: Daemon = Daemon {
    name: "dockerd",
    command: &[
        "dockerd",
        "--debug",
        "--containerd=/run/containerd/containerd.sock",
    ],
    ready: Ready::Sockets(&["run/docker.sock"]),
    configure,
};
const CONFIG: &str = include_str!("../../hosts/docker.json");

fn configure(instance: &Instance) -> Result<()> {
    instance.write("/etc/docker/daemon.json", CONFIG)
}

/// Waits until Docker, where it runs, has found containerd again: it tries that every few seconds, and
/// until then refuses to run anything.
pub fn wait_for_containerd(instance: &Instance) -> Result<()> {
    const PARTS: &str = "{{range .Server.Components}}{{.Name}} {{end}}";
    if !instance.kind.docker || !matches!(DAEMON.status(instance)?, Status::Running(_)) {
        return Ok(());
    }
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let parts = in_host(instance, &["docker", "version", "--format", PARTS])?;
        if String::from_utf8_lossy(&parts.stdout).contains("containerd") {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "Docker does not find containerd after {START_LIMIT:?}: {parts:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
