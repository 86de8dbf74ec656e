//! The runc shim, started as containerd starts it and asked without containerd.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;
use trireme_tests::protocol::client::Client;
use trireme_tests::protocol::events::Events;
use trireme_tests::protocol::methods::{TASK_V2, TASK_V3};
use trireme_tests::protocol::states::{self, Table};

const SHIM: &str = "containerd-shim-runc-v2";
const NAMESPACE: &str = "parity";
const FOLDER: &str = "/run/parity";
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// The id of the task that the shim is started for; it is never made.
const FIRST: &str = "first";

/// Every answer of the runc shim that comes with the containerd of this host.
pub fn observe(kind: &str) -> Result<Table> {
    fs::create_dir_all(FOLDER)?;
    let events = Path::new(FOLDER).join("events.sock");
    let _events = Events::listen(&events)?;
    let is_structured = match kind {
        "bookworm" => false,
        "containerd-2.3" => true,
        _ => bail!("how containerd of {kind} starts a shim is not known here"),
    };
    let first = bundle(FIRST)?;
    let _log = log(&first)?;
    let socket = start(&first, &events, is_structured)?;
    let service = if is_structured { TASK_V3 } else { TASK_V2 };
    let mut client = Client::connect(&socket, service)?;
    // The shim goes with its host.
    states::observe(&mut client, bundle)
}

fn start(bundle: &Path, events: &Path, is_structured: bool) -> Result<PathBuf> {
    let mut child = Command::new(SHIM)
        .args(["-namespace", NAMESPACE, "-address", CONTAINERD])
        .args(["-publish-binary", "containerd", "-id", FIRST, "start"])
        .env("TTRPC_ADDRESS", events)
        .env("NAMESPACE", NAMESPACE)
        .current_dir(bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {SHIM}"))?;
    let params = BootstrapParams {
        instance_id: FIRST.into(),
        namespace: NAMESPACE.into(),
        containerd_ttrpc_address: events.display().to_string(),
        containerd_grpc_address: CONTAINERD.into(),
        containerd_binary: "containerd".into(),
        ..BootstrapParams::default()
    };
    let mut stdin = child.stdin.take().context("no stdin")?;
    if is_structured {
        stdin.write_all(&params.write_to_bytes()?)?;
    }
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{SHIM} start: {}", output.status);
    let address = match String::from_utf8(output.stdout.clone()) {
        Ok(text) if text.starts_with("unix:") => text,
        _ => BootstrapResult::parse_from_bytes(&output.stdout)?.address,
    };
    let socket = address.trim().trim_start_matches("unix://");
    Ok(PathBuf::from(socket))
}

/// The FIFO for the shim's log, without which it does not run. Nobody reads it; what the shim
/// writes without being told to debug fits.
fn log(bundle: &Path) -> Result<File> {
    let path = bundle.join("log");
    mkfifo(&path, Mode::S_IRWXU)?;
    Ok(File::options().read(true).write(true).open(path)?)
}

/// A bundle whose program is a busybox that sleeps.
fn bundle(id: &str) -> Result<PathBuf> {
    let bundle = Path::new(FOLDER).join(id);
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(bundle.join("rootfs/proc"))?;
    fs::copy("/bin/busybox", bin.join("busybox")).context("copy busybox")?;
    for name in ["sleep", "true"] {
        symlink("busybox", bin.join(name))?;
    }
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/sleep", "600"],
            "cwd": "/",
            "user": { "uid": 0, "gid": 0 },
        },
        "root": { "path": "rootfs" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": {
            "cgroupsPath": format!("/parity/{id}"),
            "namespaces": [{ "type": "pid" }, { "type": "mount" }],
        },
    });
    fs::write(bundle.join("config.json"), spec.to_string())?;
    Ok(bundle)
}
