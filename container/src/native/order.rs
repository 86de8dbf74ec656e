//! What a helper is told, and what it answers.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trireme_core::plan::Mount;
use trireme_core::spec::oci;

use crate::cgroup::Cgroup;
use crate::filter::Filter;
use crate::link::Word;

/// Where a helper mounts a container's root file system, in its own mount
/// namespace: every host has this folder, and what a container is given of the
/// host's tree is never below it.
const PLACE: &str = "/proc/fs";

/// What a helper is to do, before anything else is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelperOrder {
    /// The container's id.
    pub id: String,
    /// A folder of the container's own, which is there; what `libcontainer`
    /// keeps of it is kept there.
    pub dir: PathBuf,
    /// The specification, as [`specification`] makes it.
    pub spec: oci::Spec,
    /// What is mounted as the root file system, first to last.
    pub rootfs: Vec<Mount>,
    /// The files by which it joins the container's cgroups, as [`left_hierarchies`] tells them.
    pub cgroup: Vec<PathBuf>,
    /// How its process is confined in the end, where that is not left to `libcontainer`.
    pub confinement: Option<Confinement>,
}

/// A system call filter that has been made of a profile, where `libcontainer` would make its own for
/// each container; and what it can only be installed with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// The filter.
    pub(super) filter: Filter,
    /// The capabilities that are left then, where the filter takes one to be installed: without
    /// `no_new_privs`.
    pub(super) capabilities: Option<oci::LinuxCapabilities>,
}

impl Confinement {
    /// Takes what it does out of the specification for `libcontainer`, which [`specification`] has
    /// made.
    #[must_use]
    pub fn taken_from(spec: &mut oci::Spec, filter: Filter) -> Self {
        if let Some(linux) = spec.linux_mut() {
            linux.set_seccomp(None);
        }
        let mut capabilities = None;
        if let Some(process) = spec.process_mut()
            && process.no_new_privileges() != Some(true)
        {
            // None is all of them, for libcontainer.
            limit_capabilities(process);
            capabilities.clone_from(process.capabilities());
            process.set_capabilities(None);
        }
        Confinement {
            filter,
            capabilities,
        }
    }
}

/// What a process is to become that is executed in a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecOrder {
    /// The process.
    pub process: oci::Process,
    /// The container's system call filter.
    pub filter: Option<Filter>,
    /// The files by which it joins the container's cgroups.
    pub cgroup: Vec<PathBuf>,
    /// Whether it is told of a mount namespace other than the first process's.
    pub tree: bool,
}

/// What a helper tells the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromHelper {
    /// It goes on in a copy in the pid namespace of the container's first process, whose pidfd comes
    /// along.
    Born {
        /// The copy's pid in the server's pid namespace.
        pid: i32,
    },
    /// What was to be made is: a process that waits to be started, with the master
    /// of its terminal where the specification asks for one; or a mount namespace,
    /// which comes along.
    Ready {
        /// Its pid in the helper's pid namespace.
        pid: i32,
    },
    /// It cannot be made.
    Failed {
        /// Why.
        message: String,
    },
}

impl Word for FromHelper {
    fn born(&self) -> Option<i32> {
        match self {
            FromHelper::Born { pid } => Some(*pid),
            _ => None,
        }
    }
}

/// Why a Linux program cannot be run as asked, where Trireme has no way.
///
/// # Errors
///
/// The reason, for the user.
pub fn refuse(spec: &oci::Spec) -> Result<(), String> {
    spec.process().as_ref().map_or(Ok(()), refuse_label)?;
    spec.mounts().iter().flatten().try_for_each(refuse_links)?;
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    let has_users = linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == oci::LinuxNamespaceType::User);
    if has_users {
        return Err("user namespaces are not supported; run the pod with hostUsers: true".into());
    }
    Ok(())
}

/// Why a process cannot be confined as its specification asks: `libcontainer` gives it no SELinux
/// label, and without one it would have more rights than it is to have.
pub(super) fn refuse_label(process: &oci::Process) -> Result<(), String> {
    match process.selinux_label() {
        Some(label) if !label.is_empty() => Err(format!(
            "process.selinuxLabel = \"{label}\": Linux programs are given no label of SELinux; run it \
             with runc, or without `enable_selinux` of containerd (`selinux-enabled` of Docker)"
        )),
        _ => Ok(()),
    }
}

/// Why links cannot be kept from being followed on a mount: `libcontainer` knows no word for one mount
/// without those below it.
fn refuse_links(mount: &oci::Mount) -> Result<(), String> {
    let mut options = mount.options().iter().flatten();
    if names_links(mount) && options.any(|option| option == "rbind") {
        return Err(format!(
            "mount {}: rbind with nosymfollow or symfollow is not supported for Linux programs; use \
             rnosymfollow or rsymfollow, or bind",
            mount.destination().display()
        ));
    }
    Ok(())
}

/// Whether a mount's options have a word on links that `libcontainer` does not know.
fn names_links(mount: &oci::Mount) -> bool {
    mount
        .options()
        .iter()
        .flatten()
        .any(|word| is_of_links(word))
}

fn is_of_links(word: &str) -> bool {
    matches!(word, "nosymfollow" | "symfollow")
}

/// Puts those that it knows in their place, for a mount that has none below it yet.
fn with_known_links(mount: &mut oci::Mount) {
    let mut options = mount.options().clone().unwrap_or_default();
    let words = options.iter_mut().filter(|word| is_of_links(word));
    words.for_each(|word| word.insert(0, 'r'));
    mount.set_options(Some(options));
}

/// The specification as `libcontainer` is given it. Limits are left out but, on
/// cgroup v1, those on devices: the server has set the others. So are the hooks
/// that the server runs.
#[must_use]
pub fn specification(
    mut spec: oci::Spec,
    root: &Path,
    rootfs: &[Mount],
    cgroup: &Cgroup,
    cgroup_path: &str,
) -> oci::Spec {
    let place = if rootfs.is_empty() {
        root
    } else {
        Path::new(PLACE)
    };
    let mut new_root = spec.root().clone().unwrap_or_default();
    new_root.set_path(place.to_owned());
    spec.set_root(Some(new_root));
    if let Some(mut hooks) = spec.hooks().clone() {
        hooks.set_poststart(None).set_poststop(None);
        spec.set_hooks(Some(hooks));
    }
    if let Some(mut process) = spec.process().clone() {
        limit_capabilities(&mut process);
        spec.set_process(Some(process));
    }
    let mut linux = spec.linux().clone().unwrap_or_default();
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    if !namespaces
        .iter()
        .any(|namespace| namespace.typ() == oci::LinuxNamespaceType::Cgroup)
    {
        let mounts = spec.mounts().iter().flatten();
        let mounts = mounts
            .flat_map(|mount| cgroup_mounts(mount, cgroup))
            .collect();
        spec.set_mounts(Some(mounts));
    }
    if let Some(mounts) = spec.mounts_mut() {
        let those = mounts.iter_mut().filter(|mount| names_links(mount));
        those.for_each(with_known_links);
    }
    let mut devices = oci::LinuxResources::default();
    let rules = linux.resources().as_ref();
    let rules = rules.and_then(|resources| resources.devices().clone());
    devices.set_devices(rules.filter(|_| !cgroup.is_unified()));
    // libcontainer has the recursive words for neither.
    let propagation = linux
        .rootfs_propagation()
        .as_deref()
        .map(|word| word.strip_prefix('r').unwrap_or(word).to_owned());
    linux
        .set_resources(Some(devices))
        .set_cgroups_path(Some(PathBuf::from(cgroup_path)))
        .set_rootfs_propagation(propagation.filter(|word| !word.is_empty()));
    spec.set_linux(Some(linux));
    spec
}

/// Names every set of capabilities: one that is not listed is empty (runc's
/// `specconv`), but stays as it is for `libcontainer`.
pub(super) fn limit_capabilities(process: &mut oci::Process) {
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let listed = process.capabilities().is_some();
    let of =
        |set: &Option<oci::Capabilities>| Some(set.clone().filter(|_| listed).unwrap_or_default());
    let (bounding, effective, permitted, inheritable, ambient) = (
        of(sets.bounding()),
        of(sets.effective()),
        of(sets.permitted()),
        of(sets.inheritable()),
        of(sets.ambient()),
    );
    sets.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted)
        .set_inheritable(inheritable)
        .set_ambient(ambient);
    process.set_capabilities(Some(sets));
}

/// The files by which a helper joins those of a container's cgroups that `libcontainer` moves nobody
/// into: on v1 those of other controllers, and of those hierarchies by which systemd knows whose a
/// process is. What it makes is born there, before it has a cgroup namespace.
#[must_use]
pub fn left_hierarchies(cgroup: &Cgroup) -> Vec<PathBuf> {
    /// `ControllerType` of libcgroups 0.7.
    const MOVED: [&str; 12] = [
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
    ];
    cgroup.join_files_without(&MOVED)
}

/// What stands for a mount of the container's cgroups: libcontainer 0.7 looks for
/// them by a pid of the container's own namespace in the host's /proc, which is
/// no such process where the pod shares that namespace.
pub(super) fn cgroup_mounts(mount: &oci::Mount, cgroup: &Cgroup) -> Vec<oci::Mount> {
    if mount.typ().as_deref() != Some("cgroup") || cgroup.is_unified() {
        return vec![mount.clone()];
    }
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let mut folder = oci::Mount::default();
    folder
        .set_destination(mount.destination().clone())
        .set_typ(Some("tmpfs".into()))
        .set_source(Some("tmpfs".into()))
        .set_options(words(&[
            "nosuid", "noexec", "nodev", "mode=755", "size=64k",
        ]));
    let mut mounts = vec![folder];
    for (name, path) in cgroup.hierarchies() {
        let mut options = vec!["bind".to_owned()];
        options.extend(mount.options().iter().flatten().cloned());
        let mut hierarchy = oci::Mount::default();
        hierarchy
            .set_destination(mount.destination().join(name))
            .set_typ(Some("bind".into()))
            .set_source(Some(path.to_owned()))
            .set_options(Some(options));
        mounts.push(hierarchy);
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Layout;

    fn adapted(json: &str) -> oci::Spec {
        let spec = serde_json::from_str(json).unwrap();
        let layout = Layout::V1(Vec::new());
        let cgroup = Cgroup::at(&layout, "/pods/one").unwrap();
        specification(spec, Path::new("/bundle/rootfs"), &[], &cgroup, "/pods/one")
    }

    #[test]
    fn libcontainer_is_left_devices_alone_and_the_hooks_inside() {
        let spec = adapted(
            r#"{"ociVersion": "1.1.0", "root": {"path": "rootfs"},
                "hooks": {"createContainer": [{"path": "/c"}], "poststop": [{"path": "/p"}]},
                "linux": {"rootfsPropagation": "rslave", "cgroupsPath": "/other", "resources":
                    {"pids": {"limit": 1}, "devices": [{"allow": false, "access": "rwm"}]}}}"#,
        );
        assert_eq!(
            spec.root().as_ref().unwrap().path(),
            Path::new("/bundle/rootfs")
        );
        let hooks = spec.hooks().as_ref().unwrap();
        assert!(hooks.create_container().is_some() && hooks.poststop().is_none());
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.rootfs_propagation().as_deref(), Some("slave"));
        assert_eq!(
            linux.cgroups_path().as_deref(),
            Some(Path::new("/pods/one"))
        );
        let resources = linux.resources().as_ref().unwrap();
        assert!(resources.pids().is_none() && resources.devices().is_some());
    }

    #[test]
    fn a_set_of_capabilities_that_is_not_listed_is_empty() {
        for process in [
            r#"{"cwd": "/", "args": ["/x"], "user": {"uid": 0, "gid": 0}}"#,
            r#"{"cwd": "/", "args": ["/x"], "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": ["CAP_CHOWN"]}}"#,
        ] {
            let mut process: oci::Process = serde_json::from_str(process).unwrap();
            let listed = usize::from(process.capabilities().is_some());
            limit_capabilities(&mut process);
            let sets = process.capabilities().as_ref().unwrap();
            let bounding = sets.bounding().as_ref().unwrap();
            assert_eq!(bounding.len(), listed);
            for set in [
                sets.effective(),
                sets.permitted(),
                sets.inheritable(),
                sets.ambient(),
            ] {
                assert!(set.as_ref().unwrap().is_empty(), "{sets:?}");
            }
        }
    }

    #[test]
    fn capabilities_are_left_to_libcontainer_where_the_filter_takes_none() {
        let filter = serde_json::json!({ "flags": 0, "program": [] });
        let filter: Filter = serde_json::from_value(filter).unwrap();
        for (no_new_privs, are_left) in [("true", true), ("false", false)] {
            let mut spec = adapted(&format!(
                r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}}, "process":
                    {{"cwd": "/", "args": ["/x"], "user": {{"uid": 0, "gid": 0}},
                      "noNewPrivileges": {no_new_privs}}},
                    "linux": {{"seccomp": {{"defaultAction": "SCMP_ACT_ALLOW"}}}}}}"#
            ));
            let confinement = Confinement::taken_from(&mut spec, filter.clone());
            assert!(spec.linux().as_ref().unwrap().seccomp().is_none());
            let left = spec.process().as_ref().unwrap().capabilities().is_some();
            assert_eq!(left, are_left);
            assert_eq!(confinement.capabilities.is_some(), !are_left);
        }
    }

    #[test]
    fn links_are_not_followed_where_that_is_asked_for() {
        let spec = |options: &str| {
            format!(
                r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}}, "mounts":
                    [{{"destination": "/a", "type": "none", "source": "/b", "options": {options}}}]}}"#
            )
        };
        let adapted = adapted(&spec(r#"["bind", "nosymfollow"]"#));
        let mounts = adapted.mounts().as_ref().unwrap();
        let options = mounts[0].options().as_ref().unwrap();
        assert_eq!(options[..], ["bind", "rnosymfollow"]);
        let refused = |options: &str| refuse(&serde_json::from_str(&spec(options)).unwrap());
        let reason = refused(r#"["rbind", "nosymfollow"]"#).unwrap_err();
        assert!(reason.contains("mount /a"), "{reason}");
        refused(r#"["bind", "nosymfollow"]"#).unwrap();
        refused(r#"["rbind", "rnosymfollow"]"#).unwrap();
    }

    #[test]
    fn user_namespaces_are_refused() {
        let spec = r#"{"ociVersion": "1.1.0", "linux": {"namespaces": [{"type": "user"}]}}"#;
        let reason = refuse(&serde_json::from_str(spec).unwrap()).unwrap_err();
        assert!(reason.contains("hostUsers"), "{reason}");
        let none = r#"{"ociVersion": "1.1.0", "linux": {"namespaces": [{"type": "pid"}]}}"#;
        refuse(&serde_json::from_str(none).unwrap()).unwrap();
    }

    #[test]
    fn labels_of_selinux_are_refused() {
        let with_label = |label: &str| {
            let process = format!(
                r#"{{"cwd": "/", "user": {{"uid": 0, "gid": 0}}, "selinuxLabel": "{label}"}}"#
            );
            let spec = format!(r#"{{"ociVersion": "1.1.0", "process": {process}}}"#);
            refuse(&serde_json::from_str(&spec).unwrap())
        };
        let reason = with_label("system_u:system_r:container_t:s0").unwrap_err();
        assert!(reason.contains("process.selinuxLabel"), "{reason}");
        assert!(reason.contains("container_t"), "{reason}");
        with_label("").unwrap();
    }
}
