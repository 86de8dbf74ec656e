//! The images of the tests in a host's containerd, imported again when they were built anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Instance;
use crate::paths;

/// The file in a host's state that names the build of the images it has.
const IMPORTED: &str = "images.imported";

/// Builds the images if a source has changed, and imports them if the host has others or none.
pub fn refresh(instance: &Instance) -> Result<()> {
    let build = build()?;
    let note = instance.state()?.join(IMPORTED);
    if fs::read_to_string(&note).is_ok_and(|text| Path::new(&text) == build) {
        return Ok(());
    }
    for archive in archives(&build.join("images"))? {
        import(instance, &archive)?;
    }
    fs::write(&note, build.as_os_str().as_encoded_bytes())
        .with_context(|| format!("write {}", note.display()))
}

fn build() -> Result<PathBuf> {
    let script = paths::checkout().join("tests/guests/build");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): the host has no images to run",
            script.display(),
            output.status
        );
    }
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim(),
    ))
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

fn import(instance: &Instance, archive: &Path) -> Result<()> {
    let platform = match archive.file_stem().and_then(|stem| stem.to_str()) {
        Some(stem) if stem.ends_with("wasi-wasm") => "wasi/wasm",
        Some(stem) if stem.ends_with("wasi-wasm32") => "wasi/wasm32",
        _ => "linux/amd64",
    };
    let output = Command::new("/proc/self/exe")
        .args(["internal-enter", instance.name()])
        .args(["ctr", "images", "import", "--platform", platform])
        .args(instance.kind.import)
        .arg(archive)
        .stdin(Stdio::null())
        .output()
        .context("run ctr in the host")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "import of {} into {instance} failed: {}",
            archive.display(),
            text.trim()
        );
    }
    Ok(())
}
