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
use super::lock;
use crate::paths;

/// A release of Debian, as a host needs it.
#[derive(Debug)]
pub struct Release {
    /// Its code name.
    pub name: &'static str,
    /// What is made of it.
    pub form: Form,
    /// What it has beyond the smallest system.
    pub packages: &'static [&'static str],
}

/// What hosts need a release as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A folder that is mounted as a root.
    Root,
    /// The disk and the kernel of an emulated machine.
    Image,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Image => "image",
        }
    }
}

/// The Debian packages that making a root needs on the machine.
pub const TOOLS: [&str; 1] = ["debootstrap"];

/// Debian 13: containerd 1.7, Docker 26.
pub const TRIXIE: Release = Release {
    name: "trixie",
    form: Form::Root,
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

/// Debian 13 with systemd, on a kernel of its own.
pub const TRIXIE_MACHINE: Release = Release {
    name: "trixie",
    form: Form::Image,
    packages: &[
        "apparmor",
        "busybox-static",
        "ca-certificates",
        "containerd",
        "crun",
        "dbus",
        "docker-cli",
        "docker.io",
        "iproute2",
        "iptables",
        "kmod",
        "linux-image-cloud-amd64",
        "procps",
        "runc",
        "systemd",
        "systemd-sysv",
        "udev",
    ],
};

/// Debian 12 with systemd, the last that has it make use of cgroup v1, on a kernel of its own.
pub const BOOKWORM_MACHINE: Release = Release {
    name: "bookworm",
    form: Form::Image,
    packages: &[
        "busybox-static",
        "ca-certificates",
        "containerd",
        "dbus",
        "iproute2",
        "iptables",
        "kmod",
        "linux-image-cloud-amd64",
        "procps",
        "runc",
        "systemd",
        "systemd-sysv",
        "udev",
    ],
};

/// Debian's next release: containerd 2.1, Docker 28, WasmEdge.
pub const FORKY: Release = Release {
    name: "forky",
    form: Form::Root,
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
    let prefix = release.prefix();
    let _lock = lock::exclusive(&parent.join(format!("{prefix}.lock")), &prefix)?;
    if folder.exists() {
        return Ok(folder);
    }
    let aside = parent.join(format!(".new-{}", release.prefix()));
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

fn script(form: Form) -> PathBuf {
    paths::checkout().join(format!("tests/setup/debian-{}", form.name()))
}

impl Release {
    /// What the names of its folders begin with.
    fn prefix(&self) -> String {
        match self.form {
            Form::Root => self.name.to_owned(),
            Form::Image => format!("image-{}", self.name),
        }
    }
}

fn folder_of(release: &Release) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    // An image is made of a root.
    let forms: &[_] = match release.form {
        Form::Root => &[Form::Root],
        Form::Image => &[Form::Root, Form::Image],
    };
    for form in forms {
        let script = script(*form);
        hash.update(fs::read(&script).with_context(|| format!("read {}", script.display()))?);
    }
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
    Ok(roots()?.join(format!("{}-{digest}", release.prefix())))
}

fn make(release: &Release, folder: &Path) -> Result<()> {
    let script = script(release.form);
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
    let prefix = format!("{}-", release.prefix());
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
