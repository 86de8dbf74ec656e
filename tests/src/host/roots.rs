//! The roots of hosts that are not of this machine's release: made once, shared by all of them.
//!
//! A root is a folder made by `tests/setup/debian-root` under a name that tells what it was made
//! of, so that a change makes another one. Hosts mount it as the lower layer of an overlay and
//! hold a shared lock on it for as long as they live; what nobody holds any more is removed when
//! its successor is made.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::all_states;
use crate::paths;

/// A release of Debian, as a host needs it.
#[derive(Debug)]
pub struct Release {
    /// Its code name.
    pub name: &'static str,
    /// What it has beyond the smallest system.
    pub packages: &'static [&'static str],
}

/// The Debian packages that making a root needs on the machine.
pub const TOOLS: [&str; 1] = ["debootstrap"];

/// Debian 13: containerd 1.7, Docker 26.
pub const TRIXIE: Release = Release {
    name: "trixie",
    packages: &[
        "busybox-static",
        "containerd",
        "containernetworking-plugins",
        "crun",
        "docker-cli",
        "docker.io",
        "iproute2",
        "iptables",
        "procps",
        "runc",
    ],
};

/// Debian's next release: containerd 2.1, Docker 28, WasmEdge.
pub const FORKY: Release = Release {
    name: "forky",
    packages: &[
        "busybox-static",
        "containerd",
        "containernetworking-plugins",
        "crun",
        "docker-cli",
        "docker.io",
        "iproute2",
        "iptables",
        "libwasmedge-dev",
        "libwasmedge0",
        "procps",
        "runc",
    ],
};

/// Makes the root of a release unless it is there, and returns its folder.
pub fn ensure(release: &Release) -> Result<PathBuf> {
    let folder = folder_of(release)?;
    if folder.exists() {
        return Ok(folder);
    }
    let parent = roots()?;
    fs::create_dir_all(&parent).with_context(|| format!("create {}", parent.display()))?;
    let file = File::create(parent.join(format!("{}.lock", release.name)))?;
    let _lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((file, _)) => {
            eprintln!("host: {}: another call is making its root", release.name);
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?
        }
    };
    if folder.exists() {
        return Ok(folder);
    }
    let aside = parent.join(format!(".new-{}", release.name));
    remove(&aside)?;
    make(release, &aside)?;
    fs::rename(&aside, &folder).with_context(|| format!("rename to {}", folder.display()))?;
    remove_unused(release, &parent, &folder)?;
    Ok(folder)
}

/// Keeps the root from being removed for as long as the answer lives.
pub fn hold(release: &Release) -> Result<(PathBuf, Flock<File>)> {
    let folder = folder_of(release)?;
    let file = File::open(&folder).with_context(|| format!("open {}", folder.display()))?;
    let lock = Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno)?;
    Ok((folder, lock))
}

fn roots() -> Result<PathBuf> {
    Ok(all_states()?.join("roots"))
}

fn script() -> PathBuf {
    paths::checkout().join("tests/setup/debian-root")
}

fn folder_of(release: &Release) -> Result<PathBuf> {
    let script = script();
    let text = fs::read(&script).with_context(|| format!("read {}", script.display()))?;
    let mut hash = Sha256::new_with_prefix(text);
    for package in release.packages {
        hash.update(package);
        hash.update("\n");
    }
    let digest: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(roots()?.join(format!("{}-{digest}", release.name)))
}

fn make(release: &Release, folder: &Path) -> Result<()> {
    let script = script();
    let status = Command::new(&script)
        .arg(release.name)
        .arg(folder)
        .args(release.packages)
        .stdin(Stdio::null())
        // Only what it says itself: the standard output is that of the host's command.
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("run {}", script.display()))?;
    if !status.success() {
        bail!("{} {} failed ({status})", script.display(), release.name);
    }
    Ok(())
}

/// Removes the roots of a release that were made of something else and that no host is on.
fn remove_unused(release: &Release, parent: &Path, keep: &Path) -> Result<()> {
    let prefix = format!("{}-", release.name);
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(&prefix) || path == keep {
            continue;
        }
        let file = File::open(&path)?;
        if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            remove(&path)?;
            drop(lock);
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_packages_make_another_root() {
        let more = Release {
            packages: &["busybox-static"],
            ..TRIXIE
        };
        assert_ne!(folder_of(&TRIXIE).unwrap(), folder_of(&more).unwrap());
        assert_eq!(folder_of(&TRIXIE).unwrap(), folder_of(&TRIXIE).unwrap());
    }
}
