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

/// What a containerd and its shim tell each other when that is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing, and an address: up to 1.7.
    Plain,
    /// Nothing, and a JSON object: 2.0 to 2.2.
    Json,
    /// A message, and a message: from 2.3.
    Protobuf,
}

/// Every answer of the runc shim that comes with the containerd of this host.
pub fn observe(kind: &str) -> Result<Table> {
    fs::create_dir_all(FOLDER)?;
    let events = Path::new(FOLDER).join("events.sock");
    let _events = Events::listen(&events)?;
    let form = match kind {
        "bookworm" | "trixie" => Form::Plain,
        "forky" => Form::Json,
        "containerd-2.3" => Form::Protobuf,
        _ => bail!("how containerd of {kind} starts a shim is not known here"),
    };
    let first = bundle(FIRST)?;
    let _log = log(&first)?;
    let socket = start(&first, &events, form)?;
    let service = match form {
        Form::Plain => TASK_V2,
        Form::Json | Form::Protobuf => TASK_V3,
    };
    let mut client = Client::connect(&socket, service)?;
    // The shim goes with its host.
    states::observe(&mut client, bundle)
}

fn start(bundle: &Path, events: &Path, form: Form) -> Result<PathBuf> {
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
    if form == Form::Protobuf {
        stdin.write_all(&params.write_to_bytes()?)?;
    }
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{SHIM} start: {}", output.status);
    let address = match form {
        Form::Plain => String::from_utf8(output.stdout)?,
        Form::Json => {
            let reply: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            reply["address"].as_str().context("no address")?.to_owned()
        }
        Form::Protobuf => BootstrapResult::parse_from_bytes(&output.stdout)?.address,
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
