//! Mount options of the OCI runtime specification as flags.
//!
//! Follows "Linux mount options" of the runtime specification 1.2
//! (`config.md`): the words of mount(8), their recursive forms, and data for
//! the file system for every other word.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::PlanError;
use crate::spec::oci;

/// Bits of `mount_setattr(2)`, from `linux/mount.h`.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Ignore set-user-ID and set-group-ID bits.
    pub const NOSUID: u64 = 0x2;
    /// No access to device files.
    pub const NODEV: u64 = 0x4;
    /// No execution of programs.
    pub const NOEXEC: u64 = 0x8;
    /// The mask of the access time modes.
    pub const ATIME: u64 = 0x70;
    /// Do not update access times.
    pub const NOATIME: u64 = 0x10;
    /// Always update access times.
    pub const STRICTATIME: u64 = 0x20;
    /// Do not update access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Do not follow symbolic links.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Attributes to set and to clear on a mount, bits of [`attr`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
}

impl Attributes {
    fn switch_on(&mut self, bit: u64) {
        // An access time mode is a number in a field, not a bit of its own.
        if bit & attr::ATIME != 0 || bit == 0 {
            self.set &= !attr::ATIME;
            self.clear |= attr::ATIME;
        } else {
            self.clear &= !bit;
        }
        self.set |= bit;
    }

    fn switch_off(&mut self, bit: u64) {
        if bit & attr::ATIME != 0 {
            self.set &= !attr::ATIME;
            self.clear |= attr::ATIME;
        } else {
            self.set &= !bit;
            self.clear |= bit;
        }
    }

    /// Whether there is anything to change.
    pub fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// How mounts and unmounts spread between mount namespaces
/// (`mount_namespaces(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Neither way.
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
    /// Neither way, and it cannot be bound elsewhere.
    Unbindable,
}

impl Propagation {
    /// The propagation of that name in the specification, without a leading
    /// `r`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "private" => Propagation::Private,
            "slave" => Propagation::Slave,
            "shared" => Propagation::Shared,
            "unbindable" => Propagation::Unbindable,
            _ => return None,
        })
    }
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A part of the host's tree.
    Bind {
        /// Where it is on the host.
        source: PathBuf,
        /// Whether the mounts below it come along.
        recursive: bool,
    },
    /// A file system of its own.
    Filesystem {
        /// Its type.
        fstype: String,
        /// Its source, as the type understands it.
        source: String,
        /// Its options, separated by commas.
        data: String,
    },
}

/// A mount of the container's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it appears in the container, an absolute path.
    pub destination: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of it and of all below it.
    pub recursive: Attributes,
    /// How mounts spread, and whether the same goes for all below it.
    pub propagation: Option<(Propagation, bool)>,
}

/// What the option words of one mount say.
#[derive(Default)]
struct Options {
    bind: Option<bool>,
    attributes: Attributes,
    recursive: Attributes,
    propagation: Option<(Propagation, bool)>,
    data: Vec<String>,
}

/// Words for attributes: name, whether it switches on, bits.
const ATTRIBUTES: &[(&str, bool, u64)] = &[
    ("ro", true, attr::RDONLY),
    ("rw", false, attr::RDONLY),
    ("nosuid", true, attr::NOSUID),
    ("suid", false, attr::NOSUID),
    ("nodev", true, attr::NODEV),
    ("dev", false, attr::NODEV),
    ("noexec", true, attr::NOEXEC),
    ("exec", false, attr::NOEXEC),
    ("noatime", true, attr::NOATIME),
    ("atime", false, attr::NOATIME),
    ("strictatime", true, attr::STRICTATIME),
    ("nostrictatime", false, attr::STRICTATIME),
    ("relatime", true, 0),
    ("norelatime", false, 0),
    ("nodiratime", true, attr::NODIRATIME),
    ("diratime", false, attr::NODIRATIME),
    ("nosymfollow", true, attr::NOSYMFOLLOW),
    ("symfollow", false, attr::NOSYMFOLLOW),
];

impl Options {
    fn parse(words: &[String], destination: &std::path::Path) -> Result<Self, PlanError> {
        let mut options = Options::default();
        for word in words {
            options.word(word).map_err(|reason| PlanError::Mount {
                destination: destination.into(),
                reason,
            })?;
        }
        Ok(options)
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        if let Some((_, on, bits)) = ATTRIBUTES.iter().find(|(name, ..)| *name == word) {
            switch(&mut self.attributes, *on, *bits);
            return Ok(());
        }
        if let Some(plain) = word.strip_prefix('r') {
            if let Some((_, on, bits)) = ATTRIBUTES.iter().find(|(name, ..)| *name == plain) {
                switch(&mut self.recursive, *on, *bits);
                return Ok(());
            }
            if let Some(propagation) = Propagation::from_name(plain) {
                self.propagation = Some((propagation, true));
                return Ok(());
            }
        }
        if let Some(propagation) = Propagation::from_name(word) {
            self.propagation = Some((propagation, false));
            return Ok(());
        }
        match word {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "idmap" | "ridmap" => return Err("idmapped mounts are not supported".into()),
            "tmpcopyup" => return Err("option \"tmpcopyup\" is not supported".into()),
            "defaults" | "async" | "" => {}
            "remount" => return Err("option \"remount\" is not supported".into()),
            other => self.data.push(other.to_owned()),
        }
        Ok(())
    }
}

fn switch(attributes: &mut Attributes, on: bool, bits: u64) {
    if on {
        attributes.switch_on(bits);
    } else {
        attributes.switch_off(bits);
    }
}

impl Mount {
    /// Plans one mount of the specification.
    ///
    /// # Errors
    ///
    /// For an option that cannot be honoured and a bind without a source.
    pub fn from_spec(mount: &oci::Mount) -> Result<Self, PlanError> {
        let words = mount.options().clone().unwrap_or_default();
        let typ = mount.typ().clone().unwrap_or_default();
        let source = mount.source().clone().unwrap_or_default();
        Self::new(mount.destination().clone(), typ, source, &words)
    }

    /// What of the mount is not honoured, for the log.
    pub(super) fn ignored(&self) -> Option<String> {
        let spreads = matches!(
            self.propagation,
            Some((Propagation::Slave | Propagation::Shared, _))
        );
        spreads.then(|| {
            format!(
                "mount {}: propagation ignored: mounts that the host makes later do not reach a Wasm guest",
                self.destination.display()
            )
        })
    }

    /// Plans a mount of a file system type, or of a bind, with option words.
    ///
    /// # Errors
    ///
    /// As [`Mount::from_spec`].
    pub fn new(
        destination: PathBuf,
        typ: String,
        source: PathBuf,
        words: &[String],
    ) -> Result<Self, PlanError> {
        let options = Options::parse(words, &destination)?;
        let refused = |reason: &str| PlanError::Mount {
            destination: destination.clone(),
            reason: reason.to_owned(),
        };
        let bind = options.bind.or((typ == "bind").then_some(false));
        let kind = match bind {
            Some(_) if !source.is_absolute() => {
                return Err(refused("a bind needs an absolute source"));
            }
            Some(_) if !options.data.is_empty() => {
                return Err(refused(&format!(
                    "a bind takes no option \"{}\"",
                    options.data.join(",")
                )));
            }
            Some(recursive) => MountKind::Bind { source, recursive },
            None if typ.is_empty() => return Err(refused("neither a type nor \"bind\" is given")),
            None => MountKind::Filesystem {
                fstype: typ,
                source: source.to_string_lossy().into_owned(),
                data: options.data.join(","),
            },
        };
        Ok(Mount {
            destination,
            kind,
            attributes: options.attributes,
            recursive: options.recursive,
            propagation: options.propagation,
        })
    }
}

/// File systems through which a guest could reach its own process or the
/// kernel. A Wasm container has none of them.
pub const FORBIDDEN: &[&str] = &[
    "proc",
    "sysfs",
    "devpts",
    "devtmpfs",
    "mqueue",
    "cgroup",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "binfmt_misc",
    "configfs",
    "efivarfs",
    "pstore",
    "selinuxfs",
    "nsfs",
    "fusectl",
    "rpc_pipefs",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(words: &[&str]) -> Result<Mount, PlanError> {
        let words: Vec<_> = words.iter().map(|w| (*w).to_owned()).collect();
        Mount::new("/data".into(), String::new(), "/host".into(), &words)
    }

    #[test]
    fn a_read_only_bind() {
        let mount = bind(&["rbind", "ro", "rslave"]).unwrap();
        assert_eq!(
            mount.kind,
            MountKind::Bind {
                source: "/host".into(),
                recursive: true
            }
        );
        assert_eq!(
            mount.attributes,
            Attributes {
                set: attr::RDONLY,
                clear: 0
            }
        );
        assert_eq!(mount.propagation, Some((Propagation::Slave, true)));
    }

    #[test]
    fn the_last_word_wins() {
        let mount = bind(&["bind", "ro", "rw", "noatime", "relatime"]).unwrap();
        assert_eq!(mount.attributes.set, 0);
        assert_eq!(mount.attributes.clear, attr::RDONLY | attr::ATIME);
    }

    #[test]
    fn recursive_attributes_are_kept_apart() {
        let mount = bind(&["rbind", "rro"]).unwrap();
        assert!(mount.attributes.is_empty());
        assert_eq!(mount.recursive.set, attr::RDONLY);
    }

    #[test]
    fn what_is_no_option_is_data_of_a_file_system_and_an_error_of_a_bind() {
        let words = [
            "nosuid".to_owned(),
            "size=64k".to_owned(),
            "mode=755".to_owned(),
        ];
        let mount = Mount::new("/t".into(), "tmpfs".into(), "tmpfs".into(), &words).unwrap();
        assert!(
            matches!(mount.kind, MountKind::Filesystem { ref data, .. } if data == "size=64k,mode=755")
        );
        let error = bind(&["bind", "size=1"]).unwrap_err().to_string();
        assert!(
            error.contains("/data") && error.contains("size=1"),
            "{error}"
        );
        assert!(bind(&["bind", "idmap"]).is_err());
    }
}
