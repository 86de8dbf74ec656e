//! Test hosts: machines of one's own, with a real containerd and this build installed.
//!
//! A host has its own mount, pid, network and cgroup namespace over the files of this machine,
//! with private `/run`, `/etc`, `/opt`, `/var`, so that daemons use their default paths and two
//! hosts do not meet. Its pid 1 ends with `--down`, and the kernel ends everything else with it.

pub mod cgroup;
pub mod containerd;
pub mod enter;
pub mod images;
pub mod install;
pub mod life;
pub mod namespace;
pub mod packages;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::paths;

/// A sort of host.
#[derive(Debug)]
pub struct Kind {
    /// What a user calls it.
    pub name: &'static str,
    /// Where its containerd comes from.
    pub containerd: Source,
    /// The Debian packages it needs on the machine.
    pub packages: &'static [&'static str],
    /// What `ctr images import` needs to unpack images of other platforms.
    pub import: &'static [&'static str],
    /// `/etc/containerd/config.toml` in it.
    pub config: &'static str,
}

/// Where the programs of a host come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// The Debian packages of the machine.
    Debian,
    /// The Go module `tests/tools`.
    Go,
}

/// Every kind of host there is.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "bookworm",
        containerd: Source::Debian,
        packages: &[
            "busybox-static",
            "containerd",
            "containernetworking-plugins",
            "iproute2",
            "runc",
        ],
        import: &[],
        config: include_str!("../../hosts/bookworm.toml"),
    },
    Kind {
        name: "containerd-2.3",
        containerd: Source::Go,
        packages: &[
            "busybox-static",
            "containernetworking-plugins",
            "iproute2",
            "runc",
        ],
        // The transfer service unpacks only what the machine itself could run.
        import: &["--local"],
        config: include_str!("../../hosts/containerd-2.3.toml"),
    },
];

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

    /// The folders that come first on PATH in it.
    pub fn path(&self) -> Result<String> {
        let mut folders = vec![install::FOLDER.to_owned()];
        if self.kind.containerd == Source::Go {
            folders.push(packages::go_tools_folder()?.display().to_string());
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
