//! Namespaces: which are the container's own, which it joins, and the kernel
//! parameters that belong to them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::PlanError;
use crate::spec::oci;

/// A kind of namespace that a Wasm container can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Mounts.
    Mount,
    /// Process ids.
    Pid,
    /// Network.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// The root of the cgroup tree.
    Cgroup,
}

impl NamespaceKind {
    /// The flag of `clone(2)`, `unshare(2)` and `setns(2)`.
    pub fn flag(self) -> i32 {
        match self {
            NamespaceKind::Mount => libc::CLONE_NEWNS,
            NamespaceKind::Pid => libc::CLONE_NEWPID,
            NamespaceKind::Network => libc::CLONE_NEWNET,
            NamespaceKind::Ipc => libc::CLONE_NEWIPC,
            NamespaceKind::Uts => libc::CLONE_NEWUTS,
            NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
        }
    }
}

/// A namespace of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which kind.
    pub kind: NamespaceKind,
    /// The namespace to join, or `None` for a new one.
    pub path: Option<PathBuf>,
}

/// The namespaces of a container. A kind that is not listed is the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces(Vec<Namespace>);

impl Namespaces {
    /// Those of a specification.
    ///
    /// # Errors
    ///
    /// When a guest cannot be given them.
    pub fn from_spec(namespaces: &[oci::LinuxNamespace]) -> Result<Self, PlanError> {
        let mut planned: Vec<Namespace> = Vec::with_capacity(namespaces.len());
        for namespace in namespaces {
            let kind = kind(namespace.typ())?;
            let path = namespace
                .path()
                .clone()
                .filter(|path| !path.as_os_str().is_empty());
            if planned.iter().any(|known| known.kind == kind) {
                return Err(invalid(format!("{kind:?} is listed twice")));
            }
            if kind == NamespaceKind::Mount && path.is_some() {
                return Err(PlanError::Unsupported(
                    "a Wasm container has a mount namespace of its own; it cannot join one".into(),
                ));
            }
            planned.push(Namespace { kind, path });
        }
        if planned
            .iter()
            .all(|namespace| namespace.kind != NamespaceKind::Mount)
        {
            return Err(PlanError::Unsupported(
                "a Wasm container needs a mount namespace of its own; add one to linux.namespaces"
                    .into(),
            ));
        }
        Ok(Namespaces(planned))
    }

    /// Whether the container has a new namespace of this kind.
    pub fn is_new(&self, kind: NamespaceKind) -> bool {
        self.0
            .iter()
            .any(|namespace| namespace.kind == kind && namespace.path.is_none())
    }

    /// Whether the namespace of this kind is not the host's.
    pub fn is_own(&self, kind: NamespaceKind) -> bool {
        self.0.iter().any(|namespace| namespace.kind == kind)
    }

    /// The namespaces to join and where they are.
    pub fn joined(&self) -> impl Iterator<Item = (NamespaceKind, &PathBuf)> {
        self.0
            .iter()
            .filter_map(|namespace| Some((namespace.kind, namespace.path.as_ref()?)))
    }

    /// Checks that every kernel parameter belongs to a namespace that is not
    /// the host's, as runc does (`libcontainer/configs/validate`).
    pub(super) fn sysctl(
        &self,
        parameters: HashMap<String, String>,
    ) -> Result<BTreeMap<String, String>, PlanError> {
        for name in parameters.keys() {
            let dotted = name.replace('/', ".");
            let kind = sysctl_namespace(&dotted).ok_or_else(|| PlanError::Invalid {
                what: "linux.sysctl",
                reason: format!("\"{name}\" belongs to no namespace"),
            })?;
            if dotted.contains("..") || dotted.starts_with('.') {
                return Err(PlanError::Invalid {
                    what: "linux.sysctl",
                    reason: format!("\"{name}\" is no kernel parameter"),
                });
            }
            if !self.is_own(kind) {
                return Err(PlanError::Invalid {
                    what: "linux.sysctl",
                    reason: format!("\"{name}\" would change the host's {kind:?} namespace"),
                });
            }
        }
        Ok(parameters.into_iter().collect())
    }
}

/// The kind of namespace that a kernel parameter belongs to, by its name with
/// dots; `None` where it is the whole host's.
pub fn sysctl_namespace(dotted: &str) -> Option<NamespaceKind> {
    const IPC: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if dotted.starts_with("net.") {
        Some(NamespaceKind::Network)
    } else if IPC.contains(&dotted) || dotted.starts_with("fs.mqueue.") {
        Some(NamespaceKind::Ipc)
    } else if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
        Some(NamespaceKind::Uts)
    } else {
        None
    }
}

fn kind(typ: oci::LinuxNamespaceType) -> Result<NamespaceKind, PlanError> {
    use oci::LinuxNamespaceType as T;
    Ok(match typ {
        T::Mount => NamespaceKind::Mount,
        T::Pid => NamespaceKind::Pid,
        T::Network => NamespaceKind::Network,
        T::Ipc => NamespaceKind::Ipc,
        T::Uts => NamespaceKind::Uts,
        T::Cgroup => NamespaceKind::Cgroup,
        T::User => {
            return Err(PlanError::Unsupported(
                "user namespaces are not supported for Wasm containers; run without one \
                 (Kubernetes: hostUsers: true)"
                    .into(),
            ));
        }
        T::Time => {
            return Err(PlanError::Unsupported(
                "time namespaces are not supported for Wasm containers".into(),
            ));
        }
    })
}

fn invalid(reason: String) -> PlanError {
    PlanError::Invalid {
        what: "linux.namespaces",
        reason,
    }
}
