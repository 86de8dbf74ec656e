//! What the tree of Linux programs in a guest's container is made of.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trireme_core::plan::mounts::FORBIDDEN;
use trireme_core::plan::{Mount, MountKind, PlanError};
use trireme_core::spec::oci;

use crate::cgroup::Cgroup;
use crate::native::order::cgroup_mounts;

/// Where programs look for devices.
pub(super) const DEV: &str = "/dev";

/// What is to be mounted for the Linux programs of a guest's container, beside
/// what its guest has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TreeOrder {
    /// The files by which its maker joins the container's cgroups.
    pub cgroup: Vec<PathBuf>,
    /// Where the root file system came from.
    pub(super) root: Root,
    /// The specification's mounts, in order.
    pub(super) parts: Vec<Part>,
    /// The devices to make beside those that every container has; `None` where
    /// the specification puts a folder of its own in the place of `/dev`.
    pub(super) devices: Option<Vec<oci::LinuxDevice>>,
    /// Paths to hide.
    pub(super) masked: Vec<PathBuf>,
    /// Paths to make read-only.
    pub(super) read_only: Vec<PathBuf>,
}

/// The root file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Root {
    /// Where it was bound from, unless it is a file system of its own.
    pub bound: Option<PathBuf>,
    /// The attributes that it was mounted with.
    pub attributes: u64,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// One mount of the specification.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub mount: Mount,
    pub origin: Origin,
}

/// Where a mount comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Origin {
    /// The guest has it.
    Guest,
    /// It is a file system that no guest is given.
    New,
    /// It is a part of the host's tree that no guest is given.
    Host,
}

impl TreeOrder {
    /// What a container's specification asks for, where its root file system was
    /// mounted from `rootfs`, or lay in its bundle.
    ///
    /// # Errors
    ///
    /// For a mount that cannot be made, and a device that is not in `/dev`: the
    /// guest would see it.
    pub fn from_spec(
        spec: &oci::Spec,
        bundle: &Path,
        rootfs: &[Mount],
        cgroup: &Cgroup,
    ) -> Result<Self, PlanError> {
        let linux = spec.linux().clone().unwrap_or_default();
        let mut parts = Vec::new();
        for mount in spec.mounts().iter().flatten() {
            parts.extend(parts_of(mount, cgroup)?);
        }
        if !parts.iter().any(is_dev) {
            parts.insert(0, default_dev()?);
        }
        let has_own_dev = parts
            .iter()
            .any(|part| is_dev(part) && part.origin == Origin::Guest);
        let devices = linux.devices().clone().unwrap_or_default();
        if let Some(device) = devices
            .iter()
            .find(|device| below(device.path(), Path::new(DEV)).is_none())
        {
            return Err(PlanError::Unsupported(format!(
                "linux.devices: {} is not below /dev, where alone a guest does not see it",
                device.path().display()
            )));
        }
        let paths = |list: &Option<Vec<String>>| list.iter().flatten().map(PathBuf::from).collect();
        Ok(TreeOrder {
            cgroup: cgroup.join_files(),
            root: root(spec, bundle, rootfs),
            parts,
            devices: (!has_own_dev).then_some(devices),
            masked: paths(linux.masked_paths()),
            read_only: paths(linux.readonly_paths()),
        })
    }
}

fn root(spec: &oci::Spec, bundle: &Path, rootfs: &[Mount]) -> Root {
    let root = spec.root().as_ref();
    let read_only = root.and_then(|root| root.readonly()).unwrap_or(false);
    let (bound, attributes) = match rootfs.last() {
        Some(mount) => match &mount.kind {
            MountKind::Bind { source, .. } => (Some(source.clone()), mount.attributes.set),
            MountKind::Filesystem { .. } => (None, mount.attributes.set),
        },
        None => (root.map(|root| bundle.join(root.path())), 0),
    };
    Root {
        bound,
        attributes,
        read_only,
    }
}

fn parts_of(mount: &oci::Mount, cgroup: &Cgroup) -> Result<Vec<Part>, PlanError> {
    let mounts = cgroup_mounts(mount, cgroup);
    let is_cgroup = mount.typ().as_deref() == Some("cgroup");
    mounts
        .iter()
        .map(|mount| {
            let mut mount = Mount::from_spec(mount)?;
            let origin = match &mut mount.kind {
                MountKind::Bind { .. } if is_cgroup => Origin::Host,
                MountKind::Bind { .. } => Origin::Guest,
                MountKind::Filesystem { fstype, .. } => {
                    // The words are v1's; what is meant is what the host has.
                    if fstype == "cgroup" {
                        "cgroup2".clone_into(fstype);
                    }
                    let no_guests = FORBIDDEN.contains(&fstype.as_str());
                    if is_cgroup || no_guests || mount.destination == Path::new(DEV) {
                        Origin::New
                    } else {
                        Origin::Guest
                    }
                }
            };
            Ok(Part { mount, origin })
        })
        .collect()
}

fn is_dev(part: &Part) -> bool {
    part.mount.destination == Path::new(DEV)
}

/// For a specification that has none: in the image's own folder a guest would
/// see the devices.
fn default_dev() -> Result<Part, PlanError> {
    let words = ["nosuid", "strictatime", "mode=755", "size=65536k"].map(str::to_owned);
    let mount = Mount::new(DEV.into(), "tmpfs".into(), "tmpfs".into(), &words)?;
    Ok(Part {
        mount,
        origin: Origin::New,
    })
}

/// The rest of a path below a folder, as a path from that as the root.
pub(super) fn below(path: &Path, folder: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(folder).ok()?;
    (rest != Path::new("")).then(|| Path::new("/").join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Layout;

    fn order(json: &str) -> Result<TreeOrder, PlanError> {
        let spec = serde_json::from_str(json).unwrap();
        let layout = Layout::V2 {
            mount: "/sys/fs/cgroup".into(),
            controllers: Vec::new(),
        };
        let cgroup = Cgroup::at(&layout, "/one").unwrap();
        TreeOrder::from_spec(&spec, Path::new("/bundle"), &[], &cgroup)
    }

    #[test]
    fn what_no_guest_has_is_new_and_the_rest_is_the_guests() {
        let order = order(
            r#"{"ociVersion": "1.1.0", "root": {"path": "rootfs", "readonly": true}, "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]},
                {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind"]}]}"#,
        )
        .unwrap();
        let seen: Vec<_> = order
            .parts
            .iter()
            .map(|part| (part.mount.destination.to_str().unwrap(), part.origin))
            .collect();
        assert_eq!(
            seen,
            [
                ("/proc", Origin::New),
                ("/dev", Origin::New),
                ("/dev/shm", Origin::Guest),
                ("/sys/fs/cgroup", Origin::New),
                ("/data", Origin::Guest),
            ]
        );
        assert!(
            matches!(&order.parts[3].mount.kind, MountKind::Filesystem { fstype, .. } if fstype == "cgroup2")
        );
        assert!(order.root.read_only && order.devices.is_some());
        assert_eq!(order.root.bound.unwrap(), Path::new("/bundle/rootfs"));
    }

    #[test]
    fn there_is_a_dev_of_its_own_unless_the_specification_has_another() {
        let none = order(r#"{"ociVersion": "1.1.0"}"#).unwrap();
        assert!(is_dev(&none.parts[0]) && none.parts[0].origin == Origin::New);
        let other = order(
            r#"{"ociVersion": "1.1.0", "mounts": [
                {"destination": "/dev", "type": "bind", "source": "/srv", "options": ["bind"]}]}"#,
        )
        .unwrap();
        assert!(other.devices.is_none() && other.parts.len() == 1);
    }

    #[test]
    fn a_device_that_a_guest_would_see_is_refused() {
        let error = order(
            r#"{"ociVersion": "1.1.0", "linux": {"devices": [
                {"path": "/srv/null", "type": "c", "major": 1, "minor": 3}]}}"#,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("/srv/null"), "{error}");
    }
}
