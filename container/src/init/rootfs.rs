//! The container's tree: built in init's own mount namespace, entered by
//! `pivot_root(2)`.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use trireme_core::plan::mounts::{Attributes, FORBIDDEN, attr};
use trireme_core::plan::{MountKind, Plan, Propagation};

use super::{InitError, mounting};
use crate::{Doing, SysError, sys};

pub use super::mounting::Filesystems;

/// What the root file system is made of, as the host knows it.
#[derive(Debug)]
struct Origin {
    /// The device of the layers when the root is an overlay whose inode
    /// numbers are those of one file system.
    layers: Option<u64>,
    overlay: bool,
}

impl Origin {
    fn of(plan: &Plan) -> Self {
        Origin {
            layers: layers_device(plan),
            overlay: plan.root.mounts.last().is_some_and(|mount| {
                matches!(&mount.kind, MountKind::Filesystem { fstype, .. } if fstype == "overlay")
            }),
        }
    }
}

/// A process's own mounts, to come back to.
struct Own {
    namespace: OwnedFd,
    root: OwnedFd,
}

impl Own {
    fn open(proc: &OwnedFd) -> Result<Self, SysError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::openat(proc, "self/ns/mnt", flags, Mode::empty())
            .doing(|| "open the own mount namespace".into())?;
        Ok(Own {
            namespace,
            root: open_path(Path::new("/"))?,
        })
    }

    /// The root may be another folder than its namespace's.
    fn come_back(self) -> Result<(), SysError> {
        let what = || "come back from the container's tree".to_owned();
        sys::join_mounts(self.namespace.as_fd()).doing(what)?;
        rustix::process::fchdir(&self.root).doing(what)?;
        rustix::process::chroot(".").doing(what)
    }
}

/// The container's tree before it is entered.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    origin: Origin,
    /// The host's /proc, for one look at the container's mounts once the
    /// host's are gone.
    proc: OwnedFd,
}

impl Tree {
    /// Mounts the root file system and everything below it, of which some may have been made.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a mount, or one would give the guest a part of
    /// the kernel.
    pub fn build(plan: &Plan, mut made: Filesystems) -> Result<Self, InitError> {
        // Nothing that is mounted here goes back to the host. A folder of an
        // unbindable mount cannot be bound, so that stands for private.
        let propagation = match plan.root.propagation {
            Propagation::Private | Propagation::Unbindable => MountPropagationFlags::PRIVATE,
            Propagation::Slave | Propagation::Shared => MountPropagationFlags::DOWNSTREAM,
        };
        rustix::mount::mount_change("/", propagation | MountPropagationFlags::REC)
            .doing(|| "keep mounts to the container".into())?;
        let path = &plan.root.path;
        if plan.root.mounts.is_empty() {
            let tree = mounting::clone_tree(path, true).doing(|| root_doing(path))?;
            let target = open_path(path)?;
            mounting::attach(tree.as_fd(), target.as_fd()).doing(|| root_doing(path))?;
        }
        for mount in &plan.root.mounts {
            mounting::mount_root(path, mount)?;
        }
        let root = open_path(path)?;
        for (place, mount) in plan.mounts.iter().enumerate() {
            mounting::mount_in(root.as_fd(), mount, made.take(place))?;
        }
        for masked in &plan.masked_paths {
            let null = || mounting::clone_tree(Path::new("/dev/null"), false);
            mask(root.as_fd(), Path::new(masked), null)?;
        }
        for read_only in &plan.readonly_paths {
            make_read_only(root.as_fd(), Path::new(read_only))?;
        }
        let proc = open_path(Path::new("/proc"))?;
        Ok(Tree {
            root,
            origin: Origin::of(plan),
            proc,
        })
    }

    /// The tree that an init has entered, of which this process opens files while
    /// it still has the host's own.
    ///
    /// # Errors
    ///
    /// When init is gone.
    pub fn of(plan: &Plan, init: BorrowedFd<'_>) -> Result<Self, InitError> {
        let origin = Origin::of(plan);
        let proc = open_path(Path::new("/proc"))?;
        let own = Own::open(&proc)?;
        sys::join_mounts(init).doing(|| "look into the container's tree".into())?;
        let root = open_path(Path::new("/"));
        own.come_back()?;
        Ok(Tree {
            root: root?,
            origin,
            proc,
        })
    }

    /// Makes the tree that an init has entered this process's own, with all of
    /// init's namespaces but the pid namespace. Afterwards no path of the host is left to it.
    ///
    /// # Errors
    ///
    /// When init is gone.
    pub fn join(self, init: BorrowedFd<'_>) -> Result<(), InitError> {
        Ok(sys::join_namespaces(init).doing(|| "join the container's namespaces".into())?)
    }

    /// The tree's root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Makes the working directory where the image lacks it, as runc does.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or something else has its name.
    pub fn ensure_folder(&self, path: &str) -> Result<(), SysError> {
        mounting::make_dirs(self.root(), Path::new(path))
            .map(drop)
            .doing(|| format!("make the working directory {path}"))
    }

    /// Reads a small file of the tree, if it is there.
    pub fn read(&self, path: &str, max: u64) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = mounting::open_in(self.root(), Path::new(path), flags)
            .ok()
            .map(File::from)?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = String::new();
        file.take(max).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The device by which a file of this tree is known again: that of the
    /// image's layers, for a file of the image or on the same disk. Any other
    /// disk may be somebody's who also chose its inodes and times.
    pub fn device_of(&self, file: &fs::Metadata) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        let root = rustix::fs::statat(&self.root, c"", AtFlags::EMPTY_PATH).ok()?;
        let layers = self.origin.layers?;
        let on_layers = (self.origin.overlay && file.dev() == root.st_dev) || file.dev() == layers;
        on_layers.then_some(layers)
    }

    /// Makes the tree the root of this process and lets go of the host's.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the tree holds a part of the kernel.
    pub fn enter(self, read_only: bool) -> Result<(), InitError> {
        let what = || "enter the container's root".to_owned();
        rustix::process::fchdir(&self.root).doing(what)?;
        rustix::process::pivot_root(c".", c".").doing(what)?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH).doing(what)?;
        rustix::process::chdir(c"/").doing(what)?;
        let root = open_path(Path::new("/"))?;
        // What the host mounts below a bind from now on would come without the attributes that
        // follow and without having been looked at.
        mounting::set_propagation(root.as_fd(), Propagation::Private, true)
            .doing(|| "keep later mounts of the host out".into())?;
        refuse_kernel_filesystems(self.proc)?;
        let harmless = Attributes {
            set: attr::NODEV | attr::NOSUID | attr::NOEXEC,
            clear: 0,
        };
        sys::mount_setattr(root.as_fd(), harmless, 0, true)
            .doing(|| "make all mounts nodev, nosuid and noexec (needs Linux 5.12)".into())?;
        if read_only {
            let attributes = Attributes {
                set: attr::RDONLY,
                clear: 0,
            };
            sys::mount_setattr(root.as_fd(), attributes, 0, false)
                .doing(|| "make the root file system read-only".into())?;
        }
        Ok(())
    }
}

fn root_doing(path: &Path) -> String {
    format!("mount the root file system {}", path.display())
}

fn open_path(path: &Path) -> Result<OwnedFd, SysError> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .doing(|| format!("open {}", path.display()))
}

fn open_if_there(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, Errno> {
    match mounting::open_in(root, path, OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Hides a path: an empty read-only folder over a folder, the `null` device over
/// a file. What is not there needs no hiding.
pub(crate) fn mask(
    root: BorrowedFd<'_>,
    path: &Path,
    null: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<(), SysError> {
    let what = || format!("mask {}", path.display());
    let Some(target) = open_if_there(root, path).doing(what)? else {
        return Ok(());
    };
    let stat = rustix::fs::statat(&target, c"", AtFlags::EMPTY_PATH).doing(what)?;
    let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let cover = mounting::new_filesystem("tmpfs", "tmpfs", "size=4k").doing(what)?;
        let attributes = Attributes {
            set: attr::RDONLY,
            clear: 0,
        };
        sys::mount_setattr(cover.as_fd(), attributes, 0, false).doing(what)?;
        cover
    } else {
        null().doing(what)?
    };
    mounting::attach(cover.as_fd(), target.as_fd()).doing(what)
}

pub(crate) fn make_read_only(root: BorrowedFd<'_>, path: &Path) -> Result<(), SysError> {
    let what = || format!("make {} read-only", path.display());
    let Some(target) = open_if_there(root, path).doing(what)? else {
        return Ok(());
    };
    let copy = mounting::clone_open(target.as_fd()).doing(what)?;
    let attributes = Attributes {
        set: attr::RDONLY,
        clear: 0,
    };
    sys::mount_setattr(copy.as_fd(), attributes, 0, false).doing(what)?;
    mounting::attach(copy.as_fd(), target.as_fd()).doing(what)
}

/// Looks at every mount of the tree, binds of binds included. The list holds
/// the mounts below the root that the process has when it opens the list.
fn refuse_kernel_filesystems(proc: OwnedFd) -> Result<(), InitError> {
    let what = || "read the container's mounts".to_owned();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let list = rustix::fs::openat(&proc, "self/mountinfo", flags, Mode::empty()).doing(what)?;
    let text = std::io::read_to_string(File::from(list)).doing(what)?;
    let forbidden = text.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let fstype = filesystem.split(' ').next()?;
        let destination = mount.split(' ').nth(4)?;
        (FORBIDDEN.contains(&fstype) && !is_device_file(destination, fstype))
            .then(|| (destination.to_owned(), fstype.to_owned()))
    });
    forbidden.map_or(Ok(()), |(destination, fstype)| {
        Err(InitError::Forbidden {
            destination,
            fstype,
        })
    })
}

/// A single file of the host's /dev is harmless without access to devices; the
/// folder is refused.
fn is_device_file(destination: &str, fstype: &str) -> bool {
    fstype == "devtmpfs" && fs::symlink_metadata(destination).is_ok_and(|m| !m.is_dir())
}

/// The device that all layers of an overlay are on, or `None` when they are on
/// several: then inode numbers alone do not tell files apart.
fn layers_device(plan: &Plan) -> Option<u64> {
    let MountKind::Filesystem { fstype, data, .. } = &plan.root.mounts.last()?.kind else {
        return None;
    };
    if fstype != "overlay" {
        return None;
    }
    let mut devices = data.split(',').flat_map(layer_paths).map(|layer| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(layer).ok().map(|metadata| metadata.dev())
    });
    let first = devices.next()??;
    (rustix::fs::major(first) != 0 && devices.all(|device| device == Some(first))).then_some(first)
}

fn layer_paths(option: &str) -> Vec<PathBuf> {
    match option.split_once('=') {
        Some(("lowerdir", layers)) => layers.split(':').map(PathBuf::from).collect(),
        Some(("upperdir", layer)) => vec![PathBuf::from(layer)],
        _ => Vec::new(),
    }
}
