//! The guest programs of the tests, and the images that hold them.
//!
//! Sources are in `tests/guests/`. What is built from them is kept in the cache folder under the
//! digest of all that goes in, so that a second build costs a look at the sources.

mod artifacts;
mod compile;
pub mod critest;
mod downloads;
mod images;
mod oci;
mod slow;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::host::packages::KUBERNETES;
use crate::paths;

/// Builds all guests and images unless that is done, and returns their folder: programs in
/// `wasm/` and `native/`, archives in `images/`, `artifacts/` and `critest/`.
pub fn build() -> Result<PathBuf> {
    let all = paths::cache()?.join("guests");
    let folder = all.join(digest()?);
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&all).with_context(|| format!("create {}", all.display()))?;
    let lock = File::create(all.join(".lock"))?;
    // Whoever comes second has nothing left to do; the lock goes with its descriptor.
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if folder.exists() {
        return Ok(folder);
    }
    eprintln!("guests: building into {}", folder.display());
    let aside = all.join(format!(".new-{}", std::process::id()));
    build_into(&aside).inspect_err(|_| {
        let _ = fs::remove_dir_all(&aside);
    })?;
    remove_old(&all, &aside)?;
    fs::rename(&aside, &folder).with_context(|| format!("rename to {}", folder.display()))?;
    Ok(folder)
}

fn build_into(folder: &Path) -> Result<()> {
    for name in ["wasm", "native", "images", "artifacts", "critest"] {
        let part = folder.join(name);
        fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
    }
    compile::all(&sources(), folder)?;
    fs::write(folder.join("wasm/slow.wasm"), slow::module())?;
    fs::copy(downloads::python()?, folder.join("wasm/python.wasm")).context("copy CPython")?;
    images::all(folder)?;
    artifacts::all(folder)?;
    critest::all(&sources().join("critest"), folder)
}

fn sources() -> PathBuf {
    paths::checkout().join("tests/guests")
}

/// Of every source, by its path in the checkout: the guests' own, those of what builds them, and
/// where the pause program is pinned.
fn digest() -> Result<String> {
    let mut hash = Sha256::new();
    let mut files = Vec::new();
    for folder in ["tests/guests", "tests/src/guests", "image/src"] {
        collect(&paths::checkout().join(folder), &mut files)?;
    }
    files.push(KUBERNETES.go_mod());
    files.sort();
    for file in files {
        let name = file.strip_prefix(paths::checkout())?;
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update(Sha256::digest(fs::read(&file)?));
    }
    Ok(hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), files)?,
            false => files.push(entry.path()),
        }
    }
    Ok(())
}

/// Removes earlier builds. A host that imported them has its own copy.
fn remove_old(all: &Path, keep: &Path) -> Result<()> {
    for entry in fs::read_dir(all)? {
        let path = entry?.path();
        let is_build = path.join("images").is_dir() && path != keep;
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if is_build && !is_hidden {
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}
