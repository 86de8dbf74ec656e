//! Control groups, v1 and v2 (`cgroups(7)`, the kernel's
//! `admin-guide/cgroup-v1` and `cgroup-v2.rst`).
//!
//! A container's cgroups are made and limited by the server; init joins them
//! itself. On v1 it writes `0` to each `tasks` file: moving oneself, one
//! thread, takes none of the locks that writing a pid to `cgroup.procs` waits
//! for (4–28 ms). On v2 it is cloned into its cgroup.

mod devices;
mod error;
mod layout;
mod limits;
mod oom;
mod stats;
mod systemd;
mod tree;
mod undisturbed;
mod v1;
mod v2;
mod writes;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trireme_core::spec::oci::LinuxResources;

pub use error::CgroupError;
pub use layout::Layout;
pub use oom::MemoryNews;
pub use stats::{Blkio, Cpu, Memory, Pids, Stats};
pub use systemd::hold;

use self::systemd::Scope;
use self::writes::{Write, Writes, unsupported};
use crate::{Doing, SysError};

/// The cgroups of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    version: Version,
    /// Every folder, one a hierarchy on v1, one on v2.
    folders: Vec<Folder>,
    /// What it is to systemd, where that makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Version {
    V1,
    V2,
}

/// A folder and the controllers that live in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Folder {
    controllers: Vec<String>,
    path: PathBuf,
    /// How many of the last parts of `path` are not the mount's own.
    depth: usize,
}

/// The hierarchy of v1 by which systemd knows whose a process is.
const NAMED: &str = "name=systemd";
/// What is there where systemd runs the host (`sd_booted(3)`).
const SYSTEMD: &str = "/run/systemd/system";

impl Cgroup {
    /// The cgroups at `path` below the mount points, or those of a scope that
    /// is named as `slice:prefix:name`; not made yet. On v1 without systemd that is
    /// a name like any other: containerd's CRI has it for every parent that ends
    /// in `.slice`, whatever the driver.
    ///
    /// # Errors
    ///
    /// For a path that leaves the mount points.
    pub fn at(layout: &Layout, path: &str) -> Result<Self, CgroupError> {
        Self::at_where(layout, path, || Path::new(SYSTEMD).is_dir())
    }

    fn at_where(
        layout: &Layout,
        path: &str,
        has_systemd: impl FnOnce() -> bool,
    ) -> Result<Self, CgroupError> {
        let refuse = |reason| CgroupError::Path {
            path: path.to_owned(),
            reason,
        };
        let scope = match Scope::parse(path) {
            Some(scope) if layout.is_v2() || has_systemd() => Some(scope.map_err(refuse)?),
            _ => None,
        };
        let of_scope = scope.as_ref().and_then(Scope::path);
        let relative = of_scope.as_deref().unwrap_or(path).trim_matches('/');
        let parts: Vec<_> = relative
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(refuse(
                "it has to name a folder below the cgroup mount points",
            ));
        }
        let folder = |mount: &Path, controllers: &[String]| Folder {
            controllers: controllers.to_vec(),
            path: mount.join(parts.join("/")),
            depth: parts.len(),
        };
        if let (Some(_), Layout::V1(hierarchies)) = (&scope, layout)
            && !hierarchies.iter().any(|h| h.controllers == [NAMED])
        {
            return Err(refuse(
                "this is systemd's form, and systemd's own hierarchy, name=systemd, is not mounted here; set \
                 SystemdCgroup = false",
            ));
        }
        Ok(match layout {
            Layout::V1(hierarchies) => Cgroup {
                version: Version::V1,
                folders: hierarchies
                    .iter()
                    // The one of v2 matters to systemd alone.
                    .filter(|h| scope.is_some() || !h.controllers.is_empty())
                    .map(|h| folder(&h.mount, &h.controllers))
                    .collect(),
                scope,
            },
            Layout::V2 { mount, controllers } => Cgroup {
                version: Version::V2,
                folders: vec![folder(mount, controllers)],
                scope,
            },
        })
    }

    /// Whether it is one of cgroup v2.
    pub fn is_unified(&self) -> bool {
        self.version == Version::V2
    }

    /// Whether systemd makes it, by [`Cgroup::start_scope`].
    pub fn is_systemds(&self) -> bool {
        self.scope.is_some()
    }

    /// Whether it may be made while its first process is, which then joins it by itself. On
    /// v2 processes are born in it, and systemd makes none without a process.
    pub fn may_follow(&self) -> bool {
        self.version == Version::V1 && self.scope.is_none()
    }

    /// Its path below the mount points.
    pub fn path(&self) -> PathBuf {
        let folder = self.folders.first().and_then(|folder| {
            let mount = folder.path.ancestors().nth(folder.depth)?;
            folder.path.strip_prefix(mount).ok()
        });
        Path::new("/").join(folder.unwrap_or(Path::new("")))
    }

    /// Has systemd make it, around a process and with limits. It is there until
    /// no process is in it any more.
    ///
    /// # Errors
    ///
    /// When systemd does not.
    pub fn start_scope(
        &self,
        pid: i32,
        resources: Option<&LinuxResources>,
    ) -> Result<(), CgroupError> {
        let Some(scope) = &self.scope else {
            return Ok(());
        };
        let tracked: Vec<_> = self.tracked().collect();
        scope.start(pid, resources, self.version, &tracked)
    }

    /// What `/proc/PID/cgroup` has for the controllers of those hierarchies by which systemd knows
    /// whose a process is (`cgroups(7)`).
    fn tracked(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().filter_map(|folder| self.tracks(folder))
    }

    fn tracks(&self, folder: &Folder) -> Option<&'static str> {
        match (self.version, &folder.controllers[..]) {
            (Version::V2, _) | (_, []) => Some(""),
            (_, [name]) if name == NAMED => Some(NAMED),
            _ => None,
        }
    }

    /// Its folder in each hierarchy of v1, by what a container is to find that under: the name of its
    /// mount point, and of each controller where it has several.
    pub fn hierarchies(&self) -> impl Iterator<Item = (&OsStr, &Path)> {
        let of_v1 = |folder: &&Folder| !folder.controllers.is_empty();
        self.folders.iter().filter(of_v1).flat_map(|folder| {
            let mount = folder.path.ancestors().nth(folder.depth);
            let mount = mount.and_then(Path::file_name);
            let controllers = folder.controllers.iter().map(OsStr::new);
            let others = controllers
                .filter(move |name| folder.controllers.len() > 1 && Some(*name) != mount);
            let names = mount.into_iter().chain(others);
            names.map(|name| (name, folder.path.as_path()))
        })
    }

    /// A cgroup beside this one, for what is done on the container's behalf
    /// but must not count against its own limits.
    #[must_use]
    pub fn sibling(&self, suffix: &str) -> Self {
        let mut sibling = self.clone();
        sibling.scope = None;
        for folder in &mut sibling.folders {
            if let Some(name) = folder.path.file_name() {
                let name = format!("{}{suffix}", name.to_string_lossy());
                folder.path.set_file_name(name);
            }
        }
        sibling
    }

    /// Makes the folders and sets the limits.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or a limit's controller is not there.
    pub fn create(&self, resources: Option<&LinuxResources>) -> Result<(), CgroupError> {
        match self.version {
            Version::V1 => v1::create(self)?,
            Version::V2 => {
                v2::create(self)?;
                self.limit_devices(resources)?;
            }
        }
        resources.map_or(Ok(()), |resources| self.set_limits(resources))
    }

    /// Sets limits of a cgroup that exists. Rules on devices stay as they are, as with runc:
    /// containerd tells them whatever it is that is to change.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::create`].
    pub fn update(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let mut resources = resources.clone();
        resources.set_devices(None);
        let resources = self.with_whole_quota(&resources);
        if let Some(scope) = &self.scope
            && let Some(change) = scope.change(&resources, self.version)?
        {
            self.undisturbed(|| change.make())?;
        }
        self.set_limits(&resources)
    }

    /// What of the specification's resources this host's version of cgroups, or
    /// this crate, has no file for.
    pub fn ignored(&self, resources: &LinuxResources) -> Vec<&'static str> {
        match self.version {
            Version::V1 => v1::ignored(resources),
            Version::V2 => v2::ignored(resources),
        }
    }

    /// The files by which a process joins by writing `0`; none on v2. First are those by which systemd
    /// knows whose it is, since that moves processes in other hierarchies too.
    pub fn join_files(&self) -> Vec<PathBuf> {
        self.join_files_without(&[])
    }

    /// The same of the hierarchies that have none of these controllers.
    pub fn join_files_without(&self, controllers: &[&str]) -> Vec<PathBuf> {
        let has_none = |folder: &&Folder| {
            let mut names = folder.controllers.iter();
            !names.any(|name| controllers.contains(&name.as_str()))
        };
        match self.version {
            Version::V1 => {
                let mut folders: Vec<_> = self.folders.iter().filter(has_none).collect();
                folders.sort_by_key(|folder| self.tracks(folder).is_none());
                folders.into_iter().map(v1::join_file).collect()
            }
            Version::V2 => Vec::new(),
        }
    }

    /// The folder to clone a process into; none on v1.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn clone_into(&self) -> Result<Option<fs::File>, SysError> {
        match self.version {
            Version::V1 => Ok(None),
            Version::V2 => {
                let path = &self.folders[0].path;
                fs::File::open(path)
                    .doing(|| format!("open {}", path.display()))
                    .map(Some)
            }
        }
    }

    /// What the container uses.
    ///
    /// # Errors
    ///
    /// When an account cannot be read.
    pub fn stats(&self) -> Result<Stats, SysError> {
        match self.version {
            Version::V1 => v1::stats(self),
            Version::V2 => v2::stats(self),
        }
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let (controller, file) = match self.version {
            Version::V1 => ("memory", "memory.oom_control"),
            Version::V2 => ("memory", "memory.events"),
        };
        self.controller(controller)
            .and_then(|folder| fs::read_to_string(folder.join(file)).ok())
            .and_then(|text| stats::keyed(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// Whether its own limit on memory was ever met, and not that of a cgroup above alone.
    pub fn has_met_memory_limit(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.failcnt",
            Version::V2 => "memory.events.local",
        };
        let read = |folder: &Path| fs::read_to_string(folder.join(file)).ok();
        let Some(text) = self.controller("memory").and_then(read) else {
            return false;
        };
        let met = match self.version {
            Version::V1 => text.trim().parse().ok(),
            Version::V2 => stats::keyed(&text, "oom"),
        };
        met.is_some_and(|count| count > 0)
    }

    /// Asks the kernel to stop or to resume all processes. There are none to resume without a
    /// freezer, or in a cgroup that is gone, as systemd's are once nobody is in them.
    ///
    /// # Errors
    ///
    /// When there is no freezer to stop them.
    pub fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let (controller, file, value) = match (self.version, frozen) {
            (Version::V1, true) => ("freezer", "freezer.state", "FROZEN"),
            (Version::V1, false) => ("freezer", "freezer.state", "THAWED"),
            (Version::V2, true) => ("", "cgroup.freeze", "1"),
            (Version::V2, false) => ("", "cgroup.freeze", "0"),
        };
        let path = match self.controller(controller) {
            Some(folder) => folder.join(file),
            None if !frozen => return Ok(()),
            None => {
                return Err(CgroupError::NoController {
                    what: "freezer",
                    controller: "freezer",
                });
            }
        };
        match fs::write(&path, value) {
            Err(error) if !frozen && is_gone(&error) => Ok(()),
            written => Ok(written.doing(|| format!("write {value} to {}", path.display()))?),
        }
    }

    /// Whether all processes have stopped.
    pub fn is_frozen(&self) -> bool {
        let read = |controller: &str, file: &str| {
            fs::read_to_string(self.controller(controller)?.join(file)).ok()
        };
        match self.version {
            Version::V1 => read("freezer", "freezer.state").is_some_and(|s| s.trim() == "FROZEN"),
            Version::V2 => read("", "cgroup.events")
                .and_then(|text| stats::keyed(&text, "frozen"))
                .is_some_and(|frozen| frozen == 1),
        }
    }

    /// Every process in the container, those in cgroups that it has made below its own included.
    ///
    /// # Errors
    ///
    /// When a list cannot be read; a cgroup that is gone has none.
    pub fn pids(&self) -> Result<Vec<i32>, SysError> {
        let first = || self.folders.first().map(|folder| folder.path.as_path());
        let Some(folder) = self.populated().or_else(first) else {
            return Ok(Vec::new());
        };
        let mut pids = Vec::new();
        for path in tree::all(folder)? {
            let path = path.join("cgroup.procs");
            match fs::read_to_string(&path) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                // Of a threaded one, the cgroup above tells (`cgroup-v2.rst` of Linux, "Threads").
                Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                }
                Err(error) => return Err(error).doing(|| format!("read {}", path.display())),
            }
        }
        Ok(pids)
    }

    /// Removes the folders, with those that the container has made below them, and has systemd let go
    /// of its scope, which may take a moment. What is gone already is no error; what still holds a
    /// process is.
    ///
    /// # Errors
    ///
    /// The first folder that cannot be removed; all are tried.
    pub fn remove(&self) -> Result<(), SysError> {
        let mut result = Ok(());
        for Folder { path, .. } in &self.folders {
            if let Err(error) = tree::remove(path) {
                result = Err(error);
            }
        }
        if let (Some(scope), Ok(())) = (&self.scope, &result) {
            scope.stop();
        }
        result
    }

    /// Removes those folders that [`Cgroup::stats`] and [`Cgroup::oom_kills`] have nothing from, once
    /// nobody is in them any more and nobody waits. [`Cgroup::remove`] removes what still stands.
    pub fn remove_without_accounts(&self) {
        if self.may_follow() {
            let folders = self.folders.iter();
            for folder in folders.filter(|folder| !v1::has_accounts(folder)) {
                let _ = fs::remove_dir(&folder.path);
            }
        }
    }

    /// A folder of v1 that `libcontainer` puts Linux programs into too, which it does not for every
    /// hierarchy.
    fn populated(&self) -> Option<&Path> {
        const USUAL: [&str; 4] = ["pids", "memory", "cpu", "freezer"];
        match self.version {
            Version::V1 => USUAL.iter().find_map(|name| self.controller(name)),
            Version::V2 => None,
        }
    }

    /// The folder of a controller; an empty name is the first folder.
    fn controller(&self, name: &str) -> Option<&Path> {
        let mut folders = self.folders.iter();
        let always_there =
            name.is_empty() || (self.version == Version::V2 && !is_v2_controller(name));
        let found = if always_there {
            folders.next()
        } else {
            folders.find(|folder| folder.controllers.iter().any(|c| c == name))
        };
        found.map(|folder| folder.path.as_path())
    }
}

/// Names that are switched on and off in `cgroup.subtree_control`; others are
/// always there.
fn is_v2_controller(name: &str) -> bool {
    matches!(
        name,
        "cpu" | "cpuset" | "memory" | "io" | "pids" | "hugetlb" | "rdma"
    )
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// Joins cgroups from inside: called by init and by compilers, while they have
/// one thread.
///
/// # Errors
///
/// When a cgroup is gone.
pub fn join(files: &[PathBuf]) -> Result<(), SysError> {
    for file in files {
        fs::write(file, "0").doing(|| format!("join {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
