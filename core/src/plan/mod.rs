//! From an OCI runtime specification to the plan of a Wasm container.
//!
//! The plan is what init is handed: everything it has to do, checked, and
//! nothing it has to decide. What the specification asks and a Wasm guest
//! cannot be given is refused with a [`PlanError`] where the container would
//! otherwise be less isolated or behave differently than asked, and otherwise
//! reported as a notice for the container's log. `docs/security.md` lists both.

mod limits;
pub mod mounts;
mod namespaces;
mod unsupported;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use limits::Rlimit;
pub use mounts::{Mount, MountKind, Propagation};
pub use namespaces::{Namespace, NamespaceKind, Namespaces, sysctl_namespace};

use crate::program::EntryPoint;
use crate::request::EngineChoice;
use crate::spec::oci;

/// Why a specification cannot be run as a Wasm container.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Something that has to be there is not.
    #[error("the container's specification has no {0}")]
    Missing(&'static str),
    /// A value that cannot be used.
    #[error("{what}: {reason}")]
    Invalid {
        /// Which part of the specification.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A mount that cannot be made as asked.
    #[error("mount {destination}: {reason}")]
    Mount {
        /// Where it should appear.
        destination: PathBuf,
        /// Why it cannot.
        reason: String,
    },
    /// Something that a Wasm container does not offer.
    #[error("{0}")]
    Unsupported(String),
}

/// The container's root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The directory it is mounted on, in init's own mount namespace.
    pub path: PathBuf,
    /// What containerd asks to be mounted there, first to last.
    pub mounts: Vec<Mount>,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// How mounts of the host spread into the container.
    pub propagation: Propagation,
}

/// Who the guest runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Everything init has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The container's id, for messages.
    pub id: String,
    /// The engine.
    pub engine: EngineChoice,
    /// The program in the container's tree, or in its image where that is an
    /// OCI artifact; `/` where there are no arguments.
    pub entry: EntryPoint,
    /// Arguments, the program's name first; the specification may give none.
    pub args: Vec<String>,
    /// Environment, names unique.
    pub env: Vec<(String, String)>,
    /// Working directory, an absolute path in the container.
    pub cwd: String,
    /// Whether the guest has a terminal, and its first size.
    pub terminal: Option<Option<TerminalSize>>,
    /// Namespaces to make and to join.
    pub namespaces: Namespaces,
    /// Host name to set in a UTS namespace of its own.
    pub hostname: Option<String>,
    /// Domain name to set there.
    pub domainname: Option<String>,
    /// The root file system.
    pub root: Root,
    /// Mounts below it, in order.
    pub mounts: Vec<Mount>,
    /// Paths to hide.
    pub masked_paths: Vec<String>,
    /// Paths to make read-only.
    pub readonly_paths: Vec<String>,
    /// Who the guest runs as.
    pub user: User,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// The kernel's badness adjustment, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Kernel parameters of the container's namespaces.
    pub sysctl: BTreeMap<String, String>,
    /// Whether the guest may use the container's network.
    pub network: bool,
}

/// A plan and what had to be left out of it.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What of the specification is not honoured though somebody may count on
    /// it, a line each, for the log.
    pub ignored: Vec<String>,
    /// What no Wasm guest is given, a line each, for developers.
    pub left_out: Vec<String>,
}

/// What the plan of a container is made of beside its specification.
#[derive(Debug)]
pub struct Input<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle's directory, an absolute path.
    pub bundle: &'a Path,
    /// The mounts of the create request's root file system.
    pub rootfs: Vec<Mount>,
    /// The engine.
    pub engine: EngineChoice,
    /// Whether the handler lets guests use the container's network.
    pub network: bool,
}

impl Plan {
    /// Makes the plan of a container.
    ///
    /// # Errors
    ///
    /// When the specification lacks what is needed or asks for what a Wasm
    /// container cannot be given.
    pub fn from_spec(spec: &oci::Spec, input: Input<'_>) -> Result<Planned, PlanError> {
        unsupported::refuse(spec)?;
        let mut left_out = Vec::new();
        let mounts = planned_mounts(spec, &mut left_out)?;
        let mut ignored = unsupported::ignored(spec);
        ignored.extend(mounts.iter().filter_map(Mount::ignored));
        let process = spec
            .process()
            .as_ref()
            .ok_or(PlanError::Missing("process"))?;
        let none = oci::Linux::default();
        let linux = spec.linux().as_ref().unwrap_or(&none);
        let args = process.args().clone().unwrap_or_default();
        // Whether the image holds a program all the same shows later.
        let first = args.first().map_or("/", String::as_str);
        let entry = EntryPoint::parse(first).map_err(|error| PlanError::Invalid {
            what: "process.args",
            reason: error.to_string(),
        })?;
        let namespaces = Namespaces::from_spec(linux.namespaces().as_deref().unwrap_or_default())?;
        let cwd = guest_path("process.cwd", process.cwd())?;
        let user = process.user();
        let plan = Plan {
            id: input.id.to_owned(),
            engine: input.engine,
            entry,
            env: environment(process.env().as_deref().unwrap_or_default(), &cwd)?,
            args,
            terminal: terminal_size(process),
            cwd,
            hostname: own_uts(&namespaces, "hostname", spec.hostname())?,
            domainname: own_uts(&namespaces, "domainname", spec.domainname())?,
            root: root(spec, linux, input.bundle, input.rootfs)?,
            mounts,
            masked_paths: linux.masked_paths().clone().unwrap_or_default(),
            readonly_paths: linux.readonly_paths().clone().unwrap_or_default(),
            user: User {
                uid: user.uid(),
                gid: user.gid(),
                groups: user.additional_gids().clone().unwrap_or_default(),
                umask: user.umask(),
            },
            rlimits: Rlimit::from_spec(process.rlimits().as_deref().unwrap_or_default()),
            oom_score_adj: process.oom_score_adj(),
            sysctl: namespaces.sysctl(linux.sysctl().clone().unwrap_or_default())?,
            namespaces,
            network: input.network,
        };
        Ok(Planned {
            plan,
            ignored,
            left_out,
        })
    }
}

impl Plan {
    /// The plan by which a container's program is only looked at, where no guest
    /// can be given what the specification asks: its tree, and nothing else.
    ///
    /// # Errors
    ///
    /// When not even its tree can be made.
    pub fn to_look(spec: &oci::Spec, input: Input<'_>) -> Result<Plan, PlanError> {
        let mut tree = oci::Spec::default();
        let mut linux = oci::Linux::default();
        let mut mount = oci::LinuxNamespace::default();
        mount.set_typ(oci::LinuxNamespaceType::Mount);
        linux.set_namespaces(Some(vec![mount]));
        let asked = spec.linux().as_ref();
        linux.set_rootfs_propagation(asked.and_then(|linux| linux.rootfs_propagation().clone()));
        let mut process = spec
            .process()
            .clone()
            .ok_or(PlanError::Missing("process"))?;
        process.set_rlimits(None);
        tree.set_root(spec.root().clone())
            .set_mounts(spec.mounts().clone())
            .set_process(Some(process))
            .set_linux(Some(linux))
            .set_hostname(None);
        Plan::from_spec(&tree, input).map(|planned| planned.plan)
    }
}

/// Whether a process has a terminal, and its first size.
pub fn terminal_size(process: &oci::Process) -> Option<Option<TerminalSize>> {
    process.terminal().unwrap_or(false).then(|| {
        process.console_size().map(|size| TerminalSize {
            width: u16::try_from(size.width()).unwrap_or(u16::MAX),
            height: u16::try_from(size.height()).unwrap_or(u16::MAX),
        })
    })
}

fn guest_path(what: &'static str, path: &Path) -> Result<String, PlanError> {
    match path.to_str() {
        Some(text) if path.is_absolute() => Ok(text.to_owned()),
        _ => Err(PlanError::Invalid {
            what,
            reason: format!("{} is not an absolute path in UTF-8", path.display()),
        }),
    }
}

/// Variables in their order, the last value of each name, as `execve` and a
/// shell would leave them; and `PWD`, which is how a WASI 0.1 program learns
/// of its working directory.
fn environment(variables: &[String], cwd: &str) -> Result<Vec<(String, String)>, PlanError> {
    let mut env: Vec<(String, String)> = Vec::with_capacity(variables.len() + 1);
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(variables.len());
    for variable in variables {
        let (name, value) = variable.split_once('=').ok_or_else(|| PlanError::Invalid {
            what: "process.env",
            reason: format!("\"{variable}\" has no '='"),
        })?;
        match places.entry(name) {
            Entry::Occupied(place) => value.clone_into(&mut env[*place.get()].1),
            Entry::Vacant(place) => {
                place.insert(env.len());
                env.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    if !places.contains_key("PWD") {
        env.push(("PWD".to_owned(), cwd.to_owned()));
    }
    Ok(env)
}

fn own_uts(
    namespaces: &Namespaces,
    what: &'static str,
    name: &Option<String>,
) -> Result<Option<String>, PlanError> {
    match name {
        Some(name) if !name.is_empty() => {
            if namespaces.is_new(NamespaceKind::Uts) {
                Ok(Some(name.clone()))
            } else {
                Err(PlanError::Invalid {
                    what,
                    reason: "cannot be set without a UTS namespace of the container's own".into(),
                })
            }
        }
        _ => Ok(None),
    }
}

fn root(
    spec: &oci::Spec,
    linux: &oci::Linux,
    bundle: &Path,
    mounts: Vec<Mount>,
) -> Result<Root, PlanError> {
    let root = spec.root().as_ref().ok_or(PlanError::Missing("root"))?;
    let propagation = match linux.rootfs_propagation().as_deref() {
        None | Some("") => Propagation::Slave,
        Some(word) => word
            .strip_prefix('r')
            .and_then(Propagation::from_name)
            .or_else(|| Propagation::from_name(word))
            .ok_or_else(|| PlanError::Invalid {
                what: "linux.rootfsPropagation",
                reason: format!("\"{word}\" is no propagation"),
            })?,
    };
    Ok(Root {
        path: bundle.join(root.path()),
        mounts,
        read_only: root.readonly().unwrap_or(false),
        propagation,
    })
}

/// The mounts a Wasm guest gets: all but the kernel's own file systems.
fn planned_mounts(spec: &oci::Spec, left_out: &mut Vec<String>) -> Result<Vec<Mount>, PlanError> {
    let mut planned = Vec::new();
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        if !mount.destination().is_absolute() {
            return Err(PlanError::Mount {
                destination: mount.destination().clone(),
                reason: "the destination is not an absolute path".into(),
            });
        }
        let mount = Mount::from_spec(mount)?;
        if let MountKind::Filesystem { fstype, .. } = &mount.kind
            && mounts::FORBIDDEN.contains(&fstype.as_str())
        {
            left_out.push(format!(
                "mount {} ({fstype}) left out: a Wasm guest gets no kernel file system",
                mount.destination.display()
            ));
            continue;
        }
        planned.push(mount);
    }
    Ok(planned)
}

#[cfg(test)]
mod tests;
