//! Hosts that are whole machines: a Debian with systemd as pid 1, and with either version of cgroups,
//! emulated by qemu, since no namespace can change the cgroups of the machine that it is on.
//!
//! A keeper (`keeper.rs`) on this machine boots it and is its pid file's process. Commands reach an
//! agent (`agent.rs`) in it through the keeper and one port, in frames (`wire.rs`); files come
//! through a shared folder. The disk is the image of a release (`roots`), and what is written to it
//! is gone with the machine.

pub mod agent;
pub mod client;
mod emulator;
pub mod keeper;
pub mod unit;
mod wire;

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::mounts::BIN_FOLDER;
use super::namespace::LOG_FILE;
use super::{Instance, install};
use crate::paths;

pub use emulator::end_all;

/// What the keeper prints when the machine answers.
const READY: &str = "ready";
/// Where the machine has what is shared with it.
pub const SHARE: &str = "/machine";
/// The folder there that holds this program.
const PROGRAMS: &str = "programs";

/// Where this program is in the machine.
pub fn program() -> String {
    format!("{SHARE}/{PROGRAMS}/trireme-host")
}

/// Boots the machine of a host and lays out its files.
pub fn start(instance: &Instance) -> Result<()> {
    let log = instance.state()?.join(LOG_FILE);
    let mut keeper = Command::new("/proc/self/exe")
        .args(["internal-keeper", instance.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).with_context(|| format!("create {}", log.display()))?)
        .spawn()
        .context("start the machine's keeper")?;
    let mut said = String::new();
    keeper
        .stdout
        .take()
        .context("no pipe to the keeper")?
        .read_to_string(&mut said)?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    if said.trim() != READY {
        bail!("host {instance} did not come up: {}", text.trim());
    }
    if !text.is_empty() {
        eprintln!("host: {instance}: {}", text.trim());
    }
    lay_out(instance)
}

/// The folders of this machine that the emulated one has at the same paths.
fn shared(instance: &Instance) -> Result<Vec<PathBuf>> {
    let mut folders = vec![paths::checkout().to_owned(), paths::cache()?.join("guests")];
    for tools in instance.kind.go_tools() {
        folders.push(tools.folder()?);
    }
    Ok(folders)
}

fn lay_out(instance: &Instance) -> Result<()> {
    let mut script = "ip link set lo up\n".to_owned();
    for folder in shared(instance)? {
        let folder = folder.display();
        script += &format!("mkdir -p {folder}\nmount --bind {SHARE}/same{folder} {folder}\n");
    }
    client::succeed(instance, &["sh", "-euc", &script], b"")
}

/// Brings the programs in the machine up to those that are shared with it. One that runs keeps its
/// file.
pub fn refresh_build(instance: &Instance) -> Result<()> {
    let script = format!(
        "mkdir -p {to}\ncp -dR --preserve=timestamps --update --remove-destination \
         {SHARE}/{BIN_FOLDER}/. {to}",
        to = install::FOLDER
    );
    client::succeed(instance, &["sh", "-euc", &script], b"")
}

/// Writes a file in the machine, with the folders that it is in.
pub fn write(instance: &Instance, file: &str, bytes: &[u8]) -> Result<()> {
    let script = r#"mkdir -p "$(dirname "$1")" && cat > "$1""#;
    client::succeed(instance, &["sh", "-euc", script, "sh", file], bytes)
}
