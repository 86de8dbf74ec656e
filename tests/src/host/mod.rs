//! Test hosts: machines of one's own, with a real containerd and this build installed.
//!
//! A host has its own mount, pid, network, IPC and cgroup namespace, over the files of this machine
//! with private `/run`, `/etc`, `/opt`, `/var`, or over the root of another release of Debian, so
//! that daemons use their default paths and two hosts do not meet. Its pid 1 ends with `--down`, and
//! the kernel ends everything else with it. A kind may be a whole machine instead ([`emulated`]).

pub mod cgroup;
pub mod containerd;
pub mod daemon;
pub mod docker;
pub mod emulated;
pub mod enter;
pub mod images;
pub mod install;
pub mod kubernetes;
pub mod life;
mod lock;
pub mod mounts;
pub mod namespace;
pub mod packages;
pub mod roots;
pub mod run;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use self::daemon::Daemon;
use self::packages::GoTools;
use self::roots::Release;
use crate::paths;

/// A sort of host.
#[derive(Debug)]
pub struct Kind {
    /// What a user calls it.
    pub name: &'static str,
    /// What its files are.
    pub root: Root,
    /// Where its containerd comes from.
    pub containerd: Source,
    /// Whether it has Docker.
    pub docker: bool,
    /// The Debian packages it needs on the machine.
    pub packages: &'static [&'static str],
    /// What `ctr images import` needs to unpack images of other platforms.
    pub import: &'static [&'static str],
    /// The images that it has; all of them where none is named.
    pub images: &'static [&'static str],
    /// `/etc/containerd/config.toml` in it.
    pub config: &'static str,
    /// Whether that has the part that Kubernetes talks to.
    pub cri: bool,
    /// Whether it is a cluster of one node.
    pub kubernetes: bool,
}

impl Kind {
    /// The programs that it has of the modules in `tests/tools`.
    pub fn go_tools(&self) -> Vec<&'static GoTools> {
        let mut tools = Vec::new();
        if self.containerd == Source::Go {
            tools.push(&packages::CONTAINERD);
        }
        if self.cri {
            tools.push(&packages::CRICTL);
        }
        if self.kubernetes {
            tools.push(&packages::KUBERNETES);
        }
        tools
    }

    /// Its daemons, in the order in which they are started.
    pub fn daemons(&self) -> Vec<&'static Daemon> {
        let mut daemons = vec![&containerd::DAEMON];
        if self.docker {
            daemons.push(&docker::DAEMON);
        }
        if self.kubernetes {
            daemons.extend(&kubernetes::DAEMONS);
        }
        daemons
    }
}

/// Where the files of a host come from.
#[derive(Debug)]
pub enum Root {
    /// From this machine.
    Machine,
    /// From the packages of a release of Debian.
    Debian(&'static Release),
    /// The same, as the disk of an emulated machine.
    Emulated(&'static Release, Cgroups),
}

/// What systemd makes of the control groups of a machine of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 1, and the unified hierarchy beside it to know processes by.
    Hybrid,
    /// Version 2 alone.
    Unified,
}

/// Where containerd of a host comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// The Debian package in its root.
    Debian,
    /// The Go module `tests/tools`.
    Go,
}

/// What hosts over this machine need of it.
const MACHINE_PACKAGES: &[&str] = &[
    "busybox-static",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "runc",
];
/// What the test images need of the machine, and what makes a root.
const ROOT_PACKAGES: &[&str] = &["busybox-static", "debootstrap"];
/// The transfer service unpacks only what the machine itself could run.
const IMPORT_LOCALLY: &[&str] = &["--local"];

/// The same for an emulated machine.
const EMULATOR_PACKAGES: &[&str] = &["busybox-static", "debootstrap", "qemu-system-x86"];

const CONFIG_V2: &str = include_str!("../../../deploy/containerd/config-v2.toml");
/// The same where Debian's containerd looks elsewhere for Debian's plugins, as its 1.6 does.
const CONFIG_OF_1_6: &str = concat!(
    include_str!("../../../deploy/containerd/config-v2.toml"),
    include_str!("../../hosts/cni-of-debian-v2.toml"),
);
const CONFIG_V3: &str = include_str!("../../../deploy/containerd/config-v3.toml");
/// The same for a containerd that is not Debian's and so looks for Debian's plugins elsewhere.
const CONFIG_OF_GO: &str = concat!(
    include_str!("../../../deploy/containerd/config-v3.toml"),
    include_str!("../../hosts/cni-of-debian.toml"),
);

/// Every kind of host there is.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "bookworm",
        root: Root::Machine,
        containerd: Source::Debian,
        docker: false,
        packages: MACHINE_PACKAGES,
        import: &[],
        images: &[],
        config: CONFIG_OF_1_6,
        cri: true,
        kubernetes: false,
    },
    Kind {
        name: "containerd-2.3",
        root: Root::Machine,
        containerd: Source::Go,
        docker: false,
        packages: MACHINE_PACKAGES,
        import: IMPORT_LOCALLY,
        images: &[],
        config: include_str!("../../hosts/containerd-2.3.toml"),
        cri: false,
        kubernetes: false,
    },
    Kind {
        name: "trixie",
        root: Root::Debian(&roots::TRIXIE),
        containerd: Source::Debian,
        docker: true,
        packages: ROOT_PACKAGES,
        import: &["--local"],
        images: &[],
        config: CONFIG_V2,
        cri: true,
        kubernetes: false,
    },
    Kind {
        name: "forky",
        root: Root::Debian(&roots::FORKY),
        containerd: Source::Debian,
        docker: true,
        packages: ROOT_PACKAGES,
        import: IMPORT_LOCALLY,
        images: &[],
        config: CONFIG_V3,
        cri: true,
        kubernetes: false,
    },
    Kind {
        name: "forky-2.3",
        root: Root::Debian(&roots::FORKY),
        containerd: Source::Go,
        docker: true,
        packages: ROOT_PACKAGES,
        import: IMPORT_LOCALLY,
        images: &[],
        config: CONFIG_OF_GO,
        cri: true,
        kubernetes: false,
    },
    Kind {
        name: "kube",
        root: Root::Machine,
        containerd: Source::Go,
        docker: false,
        packages: kubernetes::PACKAGES,
        import: IMPORT_LOCALLY,
        images: &[],
        config: CONFIG_OF_GO,
        cri: true,
        kubernetes: true,
    },
    Kind {
        name: "cgroup2",
        root: Root::Emulated(&roots::TRIXIE_MACHINE, Cgroups::Unified),
        containerd: Source::Debian,
        docker: true,
        packages: EMULATOR_PACKAGES,
        import: IMPORT_LOCALLY,
        images: &["guests", "native"],
        config: CONFIG_V2,
        cri: true,
        kubernetes: false,
    },
    Kind {
        name: "cgroup1",
        root: Root::Emulated(&roots::BOOKWORM_MACHINE, Cgroups::Hybrid),
        containerd: Source::Debian,
        docker: false,
        packages: EMULATOR_PACKAGES,
        import: &[],
        images: &["guests", "native"],
        config: CONFIG_OF_1_6,
        cri: true,
        kubernetes: false,
    },
];

/// The kinds of hosts that tests run on: every version of containerd once.
pub fn one_for_each_containerd() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| {
        let is_emulated = matches!(kind.root, Root::Emulated(..));
        !is_emulated && !["forky-2.3", "kube"].contains(&kind.name)
    })
}

/// One host: a kind, and a suffix that tells private instances of a kind apart (`KIND@SUFFIX`).
#[derive(Debug, Clone)]
pub struct Instance {
    /// The kind.
    pub kind: &'static Kind,
    name: String,
}

impl Instance {
    /// Reads `KIND` or `KIND@SUFFIX`.
    pub fn parse(name: &str) -> Result<Self> {
        let (kind, suffix) = match name.split_once('@') {
            Some((kind, suffix)) => (kind, Some(suffix)),
            None => (name, None),
        };
        let Some(kind) = KINDS.iter().find(|known| known.name == kind) else {
            let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            bail!("there is no host `{kind}`; there are: {}", known.join(", "));
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if suffix.is_some_and(|suffix| suffix.is_empty() || !suffix.chars().all(fits)) {
            bail!("`{name}`: a suffix is made of letters, digits, `-` and `_`");
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }

    /// `KIND` or `KIND@SUFFIX`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that holds its files: logs, pids, and what is mounted at its private folders.
    pub fn state(&self) -> Result<PathBuf> {
        Ok(all_states()?.join(&self.name))
    }

    /// The name of its cgroups on the machine: its own, and that of the checkout's cache, so that
    /// hosts of two caches do not meet.
    pub fn cgroup(&self) -> Result<String> {
        let states = all_states()?;
        let digest = Sha256::digest(states.as_os_str().as_encoded_bytes());
        let [a, b, c, d] = [digest[0], digest[1], digest[2], digest[3]];
        Ok(format!("{}-{a:02x}{b:02x}{c:02x}{d:02x}", self.name))
    }

    /// Whether it is a machine of its own.
    pub fn is_emulated(&self) -> bool {
        matches!(self.kind.root, Root::Emulated(..))
    }

    /// Whether it has cgroup v2 alone. Hosts that are no machines have what this machine has, whose
    /// controllers are of v1.
    pub fn is_on_cgroup2(&self) -> bool {
        matches!(self.kind.root, Root::Emulated(_, Cgroups::Unified))
    }

    /// Writes a file in it, with the folders that it is in.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        if self.is_emulated() {
            return emulated::write(self, file, text.as_bytes());
        }
        let file = daemon::root_of(self)?.join(file.trim_start_matches('/'));
        daemon::write(&file, text)
    }

    /// The folders that come first on PATH in it.
    pub fn path(&self) -> Result<String> {
        let mut folders = vec![install::FOLDER.to_owned()];
        for tools in self.kind.go_tools() {
            folders.push(tools.folder()?.display().to_string());
        }
        folders.push(std::env::var("PATH").unwrap_or_default());
        // Daemons live in sbin, which is not on every user's PATH.
        folders.push("/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin".to_owned());
        Ok(folders.join(":"))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The folder that holds the state of all hosts.
pub fn all_states() -> Result<PathBuf> {
    Ok(paths::cache()?.join("hosts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_makes_another_instance_of_the_kind() {
        let host = Instance::parse("bookworm@a-1").unwrap();
        assert_eq!((host.kind.name, host.name()), ("bookworm", "bookworm@a-1"));
    }

    #[test]
    fn an_unknown_kind_is_told_which_there_are() {
        let error = Instance::parse("buzz@x").unwrap_err().to_string();
        assert!(
            error.contains("`buzz`") && error.contains("containerd-2.3"),
            "{error}"
        );
    }

    #[test]
    fn a_suffix_cannot_name_another_folder() {
        assert!(Instance::parse("bookworm@../x").is_err());
        assert!(Instance::parse("bookworm@").is_err());
    }
}
