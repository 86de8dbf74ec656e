//! Finding `trireme-executor` and handing it a request.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::Serialize;
use serde::de::DeserializeOwned;
use trireme_core::memory_file;

const NAME: &str = "trireme-executor";
const OVERRIDE: &str = "TRIREME_EXECUTOR";

/// Becomes the executor, so that exit code, signals and stdio are the guest's
/// own. Returns only when that fails.
pub fn become_executor(verb: &str, request: &impl Serialize) -> Result<()> {
    let executor = find()?;
    let request = memfd(request)?;
    let error = command(&executor, verb, &request).exec();
    Err(error).with_context(|| format!("cannot run {}", executor.display()))
}

/// Runs the executor and reads the JSON that it prints.
pub fn ask<T: DeserializeOwned>(verb: &str, request: &impl Serialize) -> Result<T> {
    let executor = find()?;
    let request = memfd(request)?;
    let output = command(&executor, verb, &request)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", executor.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        let said = said.strip_prefix(&format!("{NAME}: ")).unwrap_or(said);
        match said.is_empty() {
            true => bail!("{} {verb} failed: {}", executor.display(), output.status),
            false => bail!("{said}"),
        }
    }
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "{} {verb} gave an answer that is not understood; are both of one version?",
            executor.display()
        )
    })
}

fn command(executor: &Path, verb: &str, request: &File) -> Command {
    let mut command = Command::new(executor);
    command
        .arg(verb)
        .arg("--request-fd")
        .arg(request.as_raw_fd().to_string());
    command
}

/// The request in a sealed memory file that the executor inherits: its
/// descriptor is passed on by its number.
fn memfd(request: &impl Serialize) -> Result<File> {
    let write = || -> io::Result<File> {
        let file = memory_file::sealed_json("trireme-request", request)?;
        fcntl_setfd(&file, FdFlags::empty())?;
        Ok(file)
    };
    write().context("cannot write the request")
}

/// The executor that belongs to this program: the one that
/// `TRIREME_EXECUTOR` names, beside the running binary's real path, in
/// `../libexec/trireme` of it, or in `PATH`.
fn find() -> Result<PathBuf> {
    if let Some(path) = env::var_os(OVERRIDE) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!(
                "{OVERRIDE} names {}, which is not a file; correct or unset it",
                path.display()
            );
        }
        return Ok(path);
    }
    let here = env::current_exe().context("cannot tell where this program is")?;
    let here = here.canonicalize().unwrap_or(here);
    let dir = here.parent().unwrap_or(Path::new("/"));
    let beside = [dir.join(NAME), dir.join("../libexec/trireme").join(NAME)];
    let path = env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(
            env::split_paths(&path)
                .filter(|p| p.is_absolute())
                .map(|p| p.join(NAME)),
        )
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            anyhow!(
                "{NAME} is neither in {}, nor in {}/../libexec/trireme, nor in PATH; install it \
                 there or name it in {OVERRIDE}",
                dir.display(),
                dir.display()
            )
        })
}
