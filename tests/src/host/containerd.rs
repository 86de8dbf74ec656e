//! containerd in a host: started with the file of its kind, killed and started again by tests.

use anyhow::Result;

use super::Instance;
use super::daemon::{Daemon, Ready};

/// containerd of every host; its log is at level debug.
pub const DAEMON: Daemon = Daemon {
    name: "containerd",
    command: &["containerd", "--log-level", "debug"],
    ready: Ready::Sockets(&[
        "run/containerd/containerd.sock",
        "run/containerd/containerd.sock.ttrpc",
    ]),
    configure,
};
/// The example of a network for `ctr run --cni` and Kubernetes.
const NETWORK: &str = include_str!("../../hosts/bridge.conflist");

fn configure(instance: &Instance) -> Result<()> {
    instance.write("/etc/containerd/config.toml", instance.kind.config)?;
    if instance.kind.cri {
        instance.write("/etc/cni/net.d/10-bridge.conflist", NETWORK)?;
    }
    Ok(())
}
