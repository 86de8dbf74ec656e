//! Where this host's cgroup hierarchies are mounted.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Doing, SysError};

/// The hierarchies of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One hierarchy a controller or group of controllers, and last the one of v2, without any,
    /// where systemd has that beside them (hybrid).
    V1(Vec<Hierarchy>),
    /// The unified hierarchy.
    V2 {
        /// Its mount point.
        mount: PathBuf,
        /// The controllers it has.
        controllers: Vec<String>,
    },
}

/// A hierarchy of a host with v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its mount point.
    pub mount: PathBuf,
    /// Its controllers, or `name=…` for one without; nothing for the one of v2.
    pub controllers: Vec<String>,
}

/// Where a host whose hierarchy is the unified one has it mounted (`file-hierarchy(7)`).
const POINT: &str = "/sys/fs/cgroup";
/// Where systemd has it beside those of version 1, to know whose a process is (`cg_hybrid_unified` in
/// its `cgroup-util.c`).
const BESIDE: &str = "/sys/fs/cgroup/unified";

/// Mount options of a v1 hierarchy that are no controllers.
const OPTIONS: &[&str] = &[
    "rw",
    "ro",
    "xattr",
    "clone_children",
    "noprefix",
    "cpuset_v2_mode",
    "favordynmods",
];

/// `f_type` of hierarchies of both versions (statfs(2)).
const MAGIC: [rustix::fs::FsWord; 2] = [0x0027_e0eb, 0x6367_7270];

impl Layout {
    /// Looks at the mounts of this process.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn detect() -> Result<Self, SysError> {
        let path = "/proc/self/mountinfo";
        let mounts = fs::read_to_string(path).doing(|| format!("read {path}"))?;
        // A mount that another hides is listed like any.
        let layout = Self::parse(&mounts, |point| {
            rustix::fs::statfs(point).is_ok_and(|there| MAGIC.contains(&there.f_type))
        });
        match layout {
            Layout::V2 { mount, .. } => {
                let path = mount.join("cgroup.controllers");
                let text =
                    fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
                let controllers = text.split_ascii_whitespace().map(str::to_owned).collect();
                Ok(Layout::V2 { mount, controllers })
            }
            v1 => Ok(v1),
        }
    }

    /// Reads the hierarchies out of `proc_pid_mountinfo(5)`, those that are in sight.
    fn parse(mounts: &str, is_in_sight: impl Fn(&Path) -> bool) -> Self {
        let (mut v1, mut unified, mut beside) = (Vec::<Hierarchy>::new(), None, None);
        for line in mounts.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = mount.split(' ').nth(4) else {
                continue;
            };
            if !filesystem.starts_with("cgroup") || !is_in_sight(Path::new(point)) {
                continue;
            }
            let mut filesystem = filesystem.split(' ');
            let fstype = filesystem.next();
            match (fstype, filesystem.nth(1)) {
                (Some("cgroup"), Some(options)) => {
                    let controllers: Vec<_> = options
                        .split(',')
                        .filter(|option| {
                            !OPTIONS.contains(option) && !option.starts_with("release_agent=")
                        })
                        .map(str::to_owned)
                        .collect();
                    // A hierarchy may be mounted in several places.
                    if v1.iter().all(|known| known.controllers != controllers) {
                        v1.push(Hierarchy {
                            mount: PathBuf::from(point),
                            controllers,
                        });
                    }
                }
                (Some("cgroup2"), _) => {
                    if point == BESIDE {
                        beside = Some(Hierarchy {
                            mount: PathBuf::from(point),
                            controllers: Vec::new(),
                        });
                    }
                    unified = unified.or(Some(Path::new(point)));
                }
                _ => {}
            }
        }
        match unified {
            // Others may have mounted a hierarchy of version 1 for purposes of their own.
            Some(mount) if v1.is_empty() || mount == Path::new(POINT) => Layout::V2 {
                mount: mount.into(),
                controllers: Vec::new(),
            },
            _ => {
                v1.extend(beside);
                Layout::V1(v1)
            }
        }
    }

    /// Whether this is the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        matches!(self, Layout::V2 { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unified_host_stays_one_beside_a_hierarchy_of_somebody_else() {
        let layout = Layout::parse(
            "30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n\
             31 29 0:27 / /opt/vpn/net_cls rw - cgroup cgroup rw,net_cls\n",
            |_| true,
        );
        assert!(layout.is_v2(), "{layout:?}");
    }

    #[test]
    fn hybrid_is_v1_and_then_the_unified_hierarchy_of_systemd() {
        let layout = Layout::parse(
            "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             31 29 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             33 29 0:26 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 29 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            |_| true,
        );
        let Layout::V1(hierarchies) = layout else {
            panic!("{layout:?}")
        };
        let controllers: Vec<_> = hierarchies.iter().map(|one| &one.controllers[..]).collect();
        let expected: [&[&str]; 4] = [&["cpu", "cpuacct"], &["name=systemd"], &["memory"], &[]];
        assert_eq!(controllers, expected);
        assert_eq!(hierarchies[3].mount, Path::new(BESIDE));
    }

    #[test]
    fn a_unified_hierarchy_of_somebody_else_takes_no_part_in_v1() {
        let layout = Layout::parse(
            "30 29 0:26 / /run/vpn/cgroupv2 rw - cgroup2 cgroup2 rw\n\
             31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            |_| true,
        );
        let Layout::V1(hierarchies) = layout else {
            panic!("{layout:?}")
        };
        assert_eq!(hierarchies.len(), 1);
    }

    #[test]
    fn a_unified_hierarchy_alone_is_v2() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert!(Layout::parse(mounts, |_| true).is_v2());
    }

    #[test]
    fn what_another_mount_hides_is_not_there() {
        let mounts = "30 29 0:26 / /old rw - cgroup cgroup rw,cpuset\n\
                      31 29 0:26 / /new rw - cgroup cgroup rw,cpuset\n";
        let Layout::V1(hierarchies) = Layout::parse(mounts, |point| point.ends_with("new")) else {
            panic!("this is version 1");
        };
        let points: Vec<_> = hierarchies.iter().map(|one| one.mount.as_path()).collect();
        assert_eq!(points, [Path::new("/new")]);
    }
}
