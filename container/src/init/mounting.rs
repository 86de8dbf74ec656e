//! Mounting inside a tree that may be hostile.
//!
//! No path of the container is ever resolved by the kernel against the host's
//! root: a destination is opened below the tree with `RESOLVE_IN_ROOT`, and the
//! mount is attached to that descriptor.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use trireme_core::plan::mounts::Attributes;
use trireme_core::plan::{Mount, MountKind, Plan, Propagation};

use crate::{Doing, SysError, sys};

/// A path below the tree, opened without leaving it.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // The lookup is refused with EAGAIN when a rename elsewhere on the machine
    // got in its way (openat2(2)).
    for _ in 0..64 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// File systems of a plan that are mounted nowhere yet, each at its mount's place in the plan.
#[derive(Debug, Default)]
pub struct Filesystems(Vec<Option<OwnedFd>>);

impl Filesystems {
    /// How many are made ahead: they are descriptors, of which a process has a limited number.
    const MOST: usize = 16;

    /// Makes those that are the container's own and new, whatever its root is: those in memory. One
    /// that cannot be made is made, and told, when its turn comes.
    pub(super) fn ahead(plan: &Plan) -> Self {
        let mounts = plan.mounts.iter().take(Self::MOST);
        Filesystems(
            mounts
                .map(|mount| match &mount.kind {
                    MountKind::Filesystem { fstype, .. } if fstype == "tmpfs" => {
                        source_of(mount).ok()
                    }
                    _ => None,
                })
                .collect(),
        )
    }

    /// Takes the one of a place.
    pub(super) fn take(&mut self, place: usize) -> Option<OwnedFd> {
        self.0.get_mut(place)?.take()
    }
}

/// Mounts one entry of the plan below the tree; its file system may have been made.
pub(super) fn mount_in(
    root: BorrowedFd<'_>,
    mount: &Mount,
    made: Option<OwnedFd>,
) -> Result<(), SysError> {
    let what = || format!("mount {}", mount.destination.display());
    let source = made.map_or_else(|| source_of(mount), Ok)?;
    let target = target_of(root, &mount.destination, source.as_fd(), what)?;
    attach(source.as_fd(), target.as_fd()).doing(what)
}

/// What is mounted, with its attributes.
fn source_of(mount: &Mount) -> Result<OwnedFd, SysError> {
    let what = || format!("mount {}", mount.destination.display());
    let source = open_source(mount)?;
    set_attributes(source.as_fd(), mount.attributes, mount.recursive).doing(what)?;
    if let Some((propagation, recursive)) = mount.propagation {
        set_propagation(source.as_fd(), propagation, recursive).doing(what)?;
    }
    Ok(source)
}

/// Attaches a mount that has no place yet to a path below the tree, which is made
/// where it is missing. Messages name it as `destination`.
#[cfg(feature = "native")]
pub fn attach_in(
    root: BorrowedFd<'_>,
    path: &Path,
    mount: BorrowedFd<'_>,
    destination: &Path,
) -> Result<(), SysError> {
    let what = || format!("mount {}", destination.display());
    let target = target_of(root, path, mount, what)?;
    attach(mount, target.as_fd()).doing(what)
}

/// Where a mount goes: a folder for a folder, else a file.
fn target_of(
    root: BorrowedFd<'_>,
    path: &Path,
    mount: BorrowedFd<'_>,
    what: impl Fn() -> String + Copy,
) -> Result<OwnedFd, SysError> {
    let is_dir = file_type(mount).doing(what)? == FileType::Directory;
    let target = target(root, path, is_dir)?;
    // move_mount(2) would say that an argument is invalid.
    let fits = (file_type(target.as_fd()).doing(what)? == FileType::Directory) == is_dir;
    if fits {
        Ok(target)
    } else {
        Err(Errno::NOTDIR).doing(what)
    }
}

/// Attaches a mount that has no place yet.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::mount::move_mount(
        mount,
        c"",
        target,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// A copy of a part of the host's tree, attached nowhere.
pub fn clone_tree(path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags)
}

/// A copy of the mount below an open file, attached nowhere.
pub fn clone_open(file: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(file, c"", flags)
}

/// A new file system, attached nowhere.
pub fn new_filesystem(fstype: &str, source: &str, data: &str) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !source.is_empty() {
        rustix::mount::fsconfig_set_string(&context, "source", source)?;
    }
    for option in data.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value)?,
            None => rustix::mount::fsconfig_set_flag(&context, option)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

/// Changes how mounts spread between a mount and the mounts it is a copy of.
pub fn set_propagation(
    mount: BorrowedFd<'_>,
    propagation: Propagation,
    recursive: bool,
) -> std::io::Result<()> {
    let flag = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    };
    sys::mount_setattr(mount, Attributes::default(), flag, recursive)
}

/// Gives a mount attributes, and others to all mounts below it as well.
pub(crate) fn set_attributes(
    mount: BorrowedFd<'_>,
    own: Attributes,
    recursive: Attributes,
) -> std::io::Result<()> {
    sys::mount_setattr(mount, own, 0, false)?;
    match recursive.is_empty() {
        true => Ok(()),
        false => sys::mount_setattr(mount, recursive, 0, true),
    }
}

fn open_source(mount: &Mount) -> Result<OwnedFd, SysError> {
    match &mount.kind {
        MountKind::Bind { source, recursive } => clone_tree(source, *recursive).doing(|| {
            format!(
                "mount {}: bind {}",
                mount.destination.display(),
                source.display()
            )
        }),
        MountKind::Filesystem {
            fstype,
            source,
            data,
        } => new_filesystem(fstype, source, data)
            .doing(|| format!("mount {}: {fstype} ({data})", mount.destination.display())),
    }
}

fn file_type(fd: BorrowedFd<'_>) -> rustix::io::Result<FileType> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Opens a mount's destination, making it where it is missing: a directory
/// for a directory, an empty file for anything else.
fn target(root: BorrowedFd<'_>, path: &Path, is_dir: bool) -> Result<OwnedFd, SysError> {
    let what = || format!("mount {}", path.display());
    match open_in(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => {}
        other => return other.doing(what),
    }
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => return open_in(root, path, OFlags::PATH).doing(what),
    };
    let folder = make_dirs(root, parent).doing(what)?;
    let made = if is_dir {
        rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755))
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).doing(what),
    }
    open_in(root, path, OFlags::PATH).doing(what)
}

/// Makes the missing folders of a path, each one inside the tree.
pub fn make_dirs(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let mut walked = PathBuf::from("/");
    let mut folder = open_in(root, &walked, OFlags::PATH)?;
    for component in path.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        walked.push(name);
        folder = match open_in(root, &walked, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                open_in(root, &walked, OFlags::PATH | OFlags::DIRECTORY)?
            }
            other => other?,
        };
    }
    Ok(folder)
}

/// Mounts an entry of the root file system itself with mount(2): an overlay's
/// list of layers is longer than fsconfig(2) took before Linux 6.5.
pub fn mount_root(path: &Path, mount: &Mount) -> Result<(), SysError> {
    let what = || format!("mount the root file system on {}", path.display());
    match &mount.kind {
        MountKind::Bind { source, recursive } => {
            let tree = clone_tree(source, *recursive).doing(what)?;
            sys::mount_setattr(tree.as_fd(), mount.attributes, 0, false).doing(what)?;
            let target =
                rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .doing(what)?;
            attach(tree.as_fd(), target.as_fd()).doing(what)
        }
        MountKind::Filesystem {
            fstype,
            source,
            data,
        } => {
            let (folder, data) = shortened(data);
            let here = folder
                .as_ref()
                .map(|folder| {
                    let here = rustix::fs::openat(
                        CWD,
                        c".",
                        OFlags::PATH | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?;
                    rustix::process::chdir(folder)?;
                    Ok::<_, Errno>(here)
                })
                .transpose()
                .doing(what)?;
            let data = CString::new(data.as_bytes())
                .map_err(std::io::Error::from)
                .doing(what)?;
            let read_only = mount.attributes.set & trireme_core::plan::mounts::attr::RDONLY != 0;
            let flags = if read_only {
                rustix::mount::MountFlags::RDONLY
            } else {
                rustix::mount::MountFlags::empty()
            };
            rustix::mount::mount(
                source.as_str(),
                path,
                fstype.as_str(),
                flags,
                Some(data.as_c_str()),
            )
            .doing(what)?;
            if let Some(here) = here {
                rustix::process::fchdir(&here).doing(what)?;
            }
            Ok(())
        }
    }
}

/// One page is all that mount(2) takes of options. Overlay layers that share a
/// parent folder are given relative to it, as containerd does for its own
/// mounts (`core/mount/mount_linux.go`).
fn shortened(data: &str) -> (Option<PathBuf>, String) {
    const PAGE: usize = 4096;
    if data.len() < PAGE - 1 {
        return (None, data.to_owned());
    }
    let layers = data
        .split(',')
        .find_map(|option| option.strip_prefix("lowerdir="));
    let Some(common) = layers.and_then(common_folder) else {
        return (None, data.to_owned());
    };
    let prefix = format!("{}/", common.display());
    let short = data
        .split(',')
        .map(|option| match option.strip_prefix("lowerdir=") {
            Some(layers) => {
                let layers: Vec<_> = layers
                    .split(':')
                    .map(|layer| layer.strip_prefix(&prefix).unwrap_or(layer))
                    .collect();
                format!("lowerdir={}", layers.join(":"))
            }
            None => option.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",");
    (Some(common), short)
}

fn common_folder(layers: &str) -> Option<PathBuf> {
    let mut layers = layers.split(':').map(Path::new);
    let mut common = layers.next()?.parent()?.to_path_buf();
    for layer in layers {
        while !layer.starts_with(&common) {
            if !common.pop() {
                return None;
            }
        }
    }
    (common.as_os_str().as_bytes().len() > 1).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_fit_a_page_are_left_alone() {
        let data = "lowerdir=/a/1:/a/2,upperdir=/u,workdir=/w";
        assert_eq!(shortened(data), (None, data.to_owned()));
    }

    #[test]
    fn many_layers_are_given_relative_to_their_folder() {
        let layers: Vec<_> = (0..120)
            .map(|n| format!("/var/lib/containerd/snapshots/{n}/fs-with-a-rather-long-name"))
            .collect();
        let data = format!("index=off,lowerdir={},upperdir=/u", layers.join(":"));
        assert!(data.len() > 4096);
        let (folder, short) = shortened(&data);
        assert_eq!(folder.unwrap(), Path::new("/var/lib/containerd/snapshots"));
        assert!(short.starts_with("index=off,lowerdir=0/fs"), "{short}");
        assert!(short.ends_with(",upperdir=/u"));
    }

    #[test]
    fn a_link_to_the_outside_leads_back_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/hostname"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("../../../../etc", dir.path().join("up")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        for path in ["/link/hostname", "/up/hostname", "/../etc/hostname"] {
            let fd = open_in(root.as_fd(), Path::new(path), OFlags::RDONLY).unwrap();
            assert_eq!(
                std::io::read_to_string(std::fs::File::from(fd)).unwrap(),
                "inside"
            );
        }
        let made = target(root.as_fd(), Path::new("/link/new/file"), false).unwrap();
        drop(made);
        assert!(dir.path().join("etc/new/file").is_file());
    }
}
