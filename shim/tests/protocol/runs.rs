//! What containerd runs before and after it talks to a server: `start`, `delete` and `-info`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::MessageFull;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use serde_json::{Value, json};
use trireme_shim::args::{Args, Verb};
use trireme_shim::wire::bootstrap;
use trireme_tests::protocol::json as mapping;

/// What `start` would make of its input, and the form of its reply: it is not run, since its
/// server would be one of this machine's.
pub fn start(args: Vec<String>, stdin: &Value, stdout: &Value) -> Result<()> {
    let args = Args::parse(args)?;
    ensure!(args.verb == Verb::Start, "read as {:?}", args.verb);
    let bytes = match stdin.get("BootstrapParams") {
        Some(params) => mapping::to_bytes(&BootstrapParams::descriptor(), params)?,
        None if stdin.is_null() => Vec::new(),
        None => bail!("an input that this test cannot make: {stdin}"),
    };
    let input = bootstrap::parse(&bytes, &args.id, &args.namespace)?;
    let reply = bootstrap::reply("{address}", input.structured);
    let reply = if input.structured {
        let result = mapping::of_bytes(&BootstrapResult::descriptor(), &reply)?;
        json!({ "BootstrapResult": result })
    } else {
        json!(String::from_utf8(reply)?)
    };
    ensure!(reply == *stdout, "expected {stdout}\nbut got  {reply}");
    Ok(())
}

/// What the shim's program prints, as a message.
pub fn run(
    verb: &str,
    args: &[String],
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Result<Value> {
    let program = env!("CARGO_BIN_EXE_containerd-shim-trireme-v1");
    let output = Command::new(program)
        .args(args)
        .envs(env)
        .current_dir(cwd)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{verb}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let descriptor = match verb {
        "delete" => DeleteResponse::descriptor(),
        "info" => RuntimeInfo::descriptor(),
        _ => bail!("containerd ran the shim for `{verb}`"),
    };
    mapping::of_bytes(&descriptor, &output.stdout)
}
