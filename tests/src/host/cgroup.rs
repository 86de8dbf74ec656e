//! The cgroups of a host: one folder of its own in every hierarchy of the machine.
//!
//! The host's processes start in that folder and in a cgroup namespace rooted there
//! (cgroup_namespaces(7)), so what its containerd takes for the root is
//! `trireme-tests/NAME-CACHE` of the machine: two hosts cannot meet, and what is left below it
//! belongs to this host alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

/// Where the machine, and every host, has its hierarchies.
pub const ROOT: &str = "/sys/fs/cgroup";
const PARENT: &str = "trireme-tests";

/// A mounted hierarchy, as `/proc/self/mountinfo` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Whether it is a version 2 hierarchy.
    pub unified: bool,
    /// The options that mount the same hierarchy once more (controllers, or the name).
    pub options: String,
}

impl Hierarchy {
    /// The folder of a host's cgroups, by their name, in this hierarchy, as the machine sees it.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.path.join(PARENT).join(name)
    }

    /// The type to mount it as.
    pub fn fstype(&self) -> &'static str {
        if self.unified { "cgroup2" } else { "cgroup" }
    }
}

/// All hierarchies mounted under [`ROOT`].
pub fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let found: Vec<_> = mounts.lines().filter_map(parse).collect();
    if found.is_empty() {
        bail!("no cgroup hierarchy is mounted under {ROOT}");
    }
    Ok(found)
}

/// Field 5 is the mount point; behind the lone `-` come the type, the source, the super options.
fn parse(line: &str) -> Option<Hierarchy> {
    let (front, back) = line.split_once(" - ")?;
    let path = Path::new(front.split(' ').nth(4)?);
    let mut back = back.split(' ');
    let unified = match back.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    path.strip_prefix(ROOT).ok()?;
    let own: Vec<_> = back
        .nth(1)?
        .split(',')
        .filter(|option| !matches!(*option, "rw" | "ro") && !unified)
        .collect();
    let mut options = own.join(",");
    if options.contains("name=") {
        options.insert_str(0, "none,");
    }
    Some(Hierarchy {
        path: path.into(),
        unified,
        options,
    })
}

/// Keeps [`PARENT`] as it is: it goes with the last host, whose end may be another's beginning.
fn hold_parent() -> Result<Flock<File>> {
    let root = File::open(ROOT).with_context(|| format!("open {ROOT}"))?;
    let held = Flock::lock(root, FlockArg::LockExclusive);
    held.map_err(|(_, errno)| errno)
        .with_context(|| format!("lock {ROOT}"))
}

/// Makes the folders of a host.
pub fn create(host: &str) -> Result<()> {
    let _held = hold_parent()?;
    for hierarchy in hierarchies()? {
        let folder = hierarchy.folder(host);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        // A cpuset without cpus and memory nodes takes no process (cpuset(7)).
        for name in ["cpuset.cpus", "cpuset.mems"] {
            if !hierarchy.unified && hierarchy.path.join(name).exists() {
                inherit(&hierarchy.path, &folder, name)?;
            }
        }
    }
    Ok(())
}

fn inherit(root: &Path, folder: &Path, name: &str) -> Result<()> {
    let value = fs::read_to_string(root.join(name)).with_context(|| format!("read {name}"))?;
    let parent = folder.parent().unwrap_or(root);
    for folder in [parent, folder] {
        let file = folder.join(name);
        fs::write(&file, value.trim()).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// Moves the calling thread, which must be the only one of its process, into a host's folders.
///
/// On version 1 it is the thread that moves (`tasks`), which spares the kernel's global lock that
/// a move of a whole process waits for.
pub fn join(host: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let name = if hierarchy.unified {
            "cgroup.procs"
        } else {
            "tasks"
        };
        let file = hierarchy.folder(host).join(name);
        fs::write(&file, "0").with_context(|| format!("join {}", file.display()))?;
    }
    Ok(())
}

/// Removes the folders of a host and all below them. The kernel lets go of a cgroup some time
/// after its last process, so this is tried until the limit.
pub fn remove(host: &str, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    for hierarchy in hierarchies()? {
        let folder = hierarchy.folder(host);
        while let Err(error) = remove_tree(&folder) {
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("remove {}", folder.display()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _held = hold_parent()?;
        // Fails while other hosts are up.
        let _ = fs::remove_dir(hierarchy.path.join(PARENT));
    }
    Ok(())
}

fn remove_tree(folder: &Path) -> std::io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_and_names_become_mount_options() {
        let line = "33 25 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu";
        assert_eq!(parse(line).unwrap().options, "cpu");
        let line = "33 25 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";
        assert_eq!(parse(line).unwrap().options, "none,name=systemd");
        let line = "33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate";
        let unified = parse(line).unwrap();
        assert!(unified.unified);
        assert_eq!(unified.options, "");
    }

    #[test]
    fn other_mounts_are_no_hierarchies() {
        assert_eq!(
            parse("28 25 0:24 / /sys/fs/cgroup rw - tmpfs tmpfs rw"),
            None
        );
        assert_eq!(
            parse("28 25 0:24 / /mnt/cpu rw - cgroup cgroup rw,cpu"),
            None
        );
    }
}
