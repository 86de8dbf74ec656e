//! Docker in a host that has it: on the host's own containerd, with images in its store.

use anyhow::Result;

use super::Instance;
use super::daemon::{Daemon, Ready};

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
