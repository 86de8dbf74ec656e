//! Making the tree, in a process that ends when it is made.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::thread::UnshareFlags;
use trireme_core::plan::mounts::{Attributes, attr};
use trireme_core::plan::{Mount, MountKind};

use super::devices;
use super::order::{DEV, Origin, Part, TreeOrder, below};
use crate::init::{self, mounting, rootfs};
use crate::link::Link;
use crate::native::{self, FromHelper};
use crate::process::{Cradle, SUBJECT_FD};
use crate::{Doing, SysError, cgroup, crash, sys};

/// What every mount of a guest has.
const HARMLESS: u64 = attr::NODEV | attr::NOSUID | attr::NOEXEC;

/// Why the tree cannot be made.
#[derive(Debug, thiserror::Error)]
enum TreeError {
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error("the order is not understood: {0}")]
    Order(#[from] serde_json::Error),
    #[error("mount {}: the guest has removed what was mounted there", .0.display())]
    Gone(PathBuf),
}

/// Makes the mount namespace of an order beside an init, and hands it to the
/// server. Whatever goes wrong is said on the link.
///
/// # Errors
///
/// When the server is gone.
pub fn main() -> io::Result<()> {
    let (link, order, first) = native::given()?;
    match make(&link, order, first) {
        Ok(namespace) => {
            let pid = rustix::process::getpid().as_raw_pid();
            link.send(&FromHelper::Ready { pid }, Some(namespace.as_fd()))
        }
        Err(error) => {
            let message = error.to_string();
            link.send(&FromHelper::Failed { message }, None)
        }
    }
}

fn make(link: &Link, mut order: File, first: OwnedFd) -> Result<OwnedFd, TreeError> {
    init::harden(SUBJECT_FD)?;
    crash::keep();
    let mut text = Vec::new();
    order
        .read_to_end(&mut text)
        .doing(|| "read the order".into())?;
    drop(order);
    let order: TreeOrder = serde_json::from_slice(&text)?;
    cgroup::join(&order.cgroup)?;
    let proc = open_path(Path::new("/proc")).doing(|| "open /proc".into())?;
    let host = Host::look(&order)?;
    sys::join_namespaces(first.as_fd()).doing(|| "join the container's namespaces".into())?;
    let cradle = Cradle::beside(first)?;
    // SAFETY: this process has one thread and shares no file descriptions
    // that a mount namespace changes.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .doing(|| "make a mount namespace".into())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::openat(&proc, "self/ns/mnt", flags, Mode::empty())
        .doing(|| "open the mount namespace".into())?;
    drop(proc);
    // What it has left of the host is what the container is given. A new /proc is that of its maker's
    // pid namespace.
    // SAFETY: this process has one thread.
    unsafe { cradle.be_born(link, false, |pid| FromHelper::Born { pid })? };
    // Modes are those that are asked for.
    rustix::process::umask(Mode::empty());
    host.build(&order)?;
    Ok(namespace)
}

/// What is needed of the host once it is out of sight.
struct Host {
    /// What the root was bound from.
    root: Option<Source>,
    /// What is mounted, in the order of the parts.
    sources: Vec<Option<Source>>,
    /// Its /dev/null, a copy for each path that may be a file to hide.
    nulls: Vec<OwnedFd>,
    /// Whether programs may want to look at the kernel's memory.
    kcore: bool,
}

/// What a bind leads to on the host.
enum Source {
    /// What the guest has as well, known again by device and inode: the
    /// attributes of the mount that it is on.
    Known { dev: u64, ino: u64, attributes: u64 },
    /// What no guest has, attached nowhere, with its attributes.
    Copy(OwnedFd),
}

impl Source {
    fn known(path: &Path) -> Option<Self> {
        let file = open_path(path).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let flags = rustix::fs::fstatvfs(&file).ok()?.f_flag;
        let has = |flag, bit| if flags.contains(flag) { bit } else { 0 };
        Some(Source::Known {
            dev: stat.st_dev,
            ino: stat.st_ino,
            attributes: has(StatVfsMountFlags::NODEV, attr::NODEV)
                | has(StatVfsMountFlags::NOSUID, attr::NOSUID)
                | has(StatVfsMountFlags::NOEXEC, attr::NOEXEC),
        })
    }

    fn of(part: &Part) -> Result<Option<Self>, SysError> {
        let MountKind::Bind { source, recursive } = &part.mount.kind else {
            return Ok(None);
        };
        if part.origin == Origin::Guest {
            return Ok(Source::known(source));
        }
        let what = || format!("bind {}", source.display());
        let copy = mounting::clone_tree(source, *recursive).doing(what)?;
        // Whoever gets at it before it is mounted is to find what was asked for.
        let asked = &part.mount;
        mounting::set_attributes(copy.as_fd(), asked.attributes, asked.recursive).doing(what)?;
        Ok(Some(Source::Copy(copy)))
    }
}

impl Host {
    fn look(order: &TreeOrder) -> Result<Self, SysError> {
        let null = |_| {
            mounting::clone_tree(Path::new("/dev/null"), false).doing(|| "bind /dev/null".into())
        };
        Ok(Host {
            root: order.root.bound.as_deref().and_then(Source::known),
            sources: order
                .parts
                .iter()
                .map(Source::of)
                .collect::<Result<_, _>>()?,
            nulls: order.masked.iter().map(null).collect::<Result<_, _>>()?,
            kcore: Path::new("/proc/kcore").exists(),
        })
    }

    /// Puts this process's mount namespace right.
    fn build(mut self, order: &TreeOrder) -> Result<(), TreeError> {
        let root = open_path(Path::new("/")).doing(|| "open the root".into())?;
        let own = order.root.attributes;
        restore(
            root.as_fd(),
            own,
            order.root.bound.is_some(),
            self.root.as_ref(),
        )
        .doing(|| "let programs of the root file system run".into())?;
        set(root.as_fd(), 0, attr::RDONLY).doing(|| "write to the root".into())?;
        let mut guests = Vec::new();
        for (part, source) in order.parts.iter().zip(&self.sources) {
            guests.push(guests_own(root.as_fd(), part, source.as_ref())?);
        }
        let mut tree = Tree {
            root,
            new: Vec::new(),
        };
        let sources = std::mem::take(&mut self.sources);
        for ((part, guests), source) in order.parts.iter().zip(guests).zip(sources) {
            tree.mount(part, guests, source)?;
        }
        self.fill_dev(order, &tree)?;
        self.protect(order, &tree)?;
        if order.root.read_only {
            set(tree.root.as_fd(), attr::RDONLY, 0)
                .doing(|| "make the root file system read-only".into())?;
        }
        Ok(())
    }

    fn fill_dev(&self, order: &TreeOrder, tree: &Tree) -> Result<(), SysError> {
        let dev = tree
            .new
            .iter()
            .rfind(|new| new.destination == Path::new(DEV));
        let (Some(dev), Some(asked)) = (dev, &order.devices) else {
            return Ok(());
        };
        devices::make(dev.root.as_fd(), asked)?;
        if self.kcore {
            rustix::fs::symlinkat("/proc/kcore", &dev.root, "core")
                .doing(|| "make the link /dev/core".into())?;
        }
        Ok(())
    }

    /// Hides and protects what is in new file systems. The rest came with the
    /// guest's tree.
    fn protect(&mut self, order: &TreeOrder, tree: &Tree) -> Result<(), SysError> {
        for path in &order.masked {
            let null = self.nulls.pop();
            if let Some((new, rest)) = tree.find(path) {
                let null = || null.ok_or(rustix::io::Errno::NOENT);
                rootfs::mask(new.root.as_fd(), &rest, null)?;
            }
        }
        for path in &order.read_only {
            if let Some((new, rest)) = tree.find(path) {
                rootfs::make_read_only(new.root.as_fd(), &rest)?;
            }
        }
        for new in tree.new.iter().filter(|new| new.read_only) {
            set(new.root.as_fd(), attr::RDONLY, 0)
                .doing(|| format!("make {} read-only", new.destination.display()))?;
        }
        Ok(())
    }
}

/// The tree, and what is new in it.
struct Tree {
    root: OwnedFd,
    new: Vec<New>,
}

/// A mount that the guest does not have.
struct New {
    destination: PathBuf,
    root: OwnedFd,
    read_only: bool,
}

impl Tree {
    /// The new mount that a path is below, and the rest of the path.
    fn find(&self, path: &Path) -> Option<(&New, PathBuf)> {
        // The last of those that are as deep, which hides the others.
        self.new
            .iter()
            .filter_map(|new| Some((new, below(path, &new.destination)?)))
            .max_by_key(|(new, _)| new.destination.components().count())
    }

    /// Mounts a part that is not where it belongs yet.
    fn mount(
        &mut self,
        part: &Part,
        guests: Option<OwnedFd>,
        source: Option<Source>,
    ) -> Result<(), TreeError> {
        let destination = &part.mount.destination;
        let what = || format!("mount {}", destination.display());
        let (root, place) = match self.find(destination) {
            Some((new, rest)) => (new.root.as_fd(), rest),
            None if part.origin == Origin::Guest => return Ok(()),
            None => (self.root.as_fd(), destination.clone()),
        };
        let mount = match (part.origin, source) {
            (Origin::Guest, _) => {
                let there = guests.ok_or_else(|| TreeError::Gone(destination.clone()))?;
                copy(there.as_fd()).doing(what)?
            }
            (_, Some(Source::Copy(copy))) => copy,
            _ => changed(filesystem(&part.mount)?, &part.mount).doing(what)?,
        };
        mounting::attach_in(root, &place, mount.as_fd(), destination)?;
        if part.origin != Origin::Guest {
            self.new.push(New {
                destination: destination.clone(),
                root: mount,
                read_only: part.mount.attributes.set & attr::RDONLY != 0,
            });
        }
        Ok(())
    }
}

/// What the guest has at the place of a mount, with the attributes that it
/// was mounted with.
fn guests_own(
    root: BorrowedFd<'_>,
    part: &Part,
    source: Option<&Source>,
) -> Result<Option<OwnedFd>, SysError> {
    if part.origin != Origin::Guest {
        return Ok(None);
    }
    let Mount {
        destination,
        attributes,
        recursive,
        kind,
        ..
    } = &part.mount;
    let Ok(there) = mounting::open_in(root, destination, OFlags::PATH) else {
        return Ok(None);
    };
    // A file system of memory is known by nothing but its place, where the guest may have
    // moved another mount: it stays as the guest has it.
    if matches!(kind, MountKind::Bind { .. }) {
        restore(there.as_fd(), attributes.set | recursive.set, true, source)
            .doing(|| format!("let programs of {} run", destination.display()))?;
    }
    Ok(Some(there))
}

/// Gives a mount of the guest's the attributes back that it was made with:
/// its `own`, and those of what it was bound from. Where the guest has put
/// another folder in its place, or the host another file behind the name, it
/// stays as the guest has it.
fn restore(
    there: BorrowedFd<'_>,
    own: u64,
    is_bind: bool,
    source: Option<&Source>,
) -> rustix::io::Result<()> {
    let statx = rustix::fs::statx(there, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    if !statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(());
    }
    let stat = rustix::fs::fstat(there)?;
    let from = match source {
        Some(Source::Known {
            dev,
            ino,
            attributes,
        }) if (*dev, *ino) == (stat.st_dev, stat.st_ino) => *attributes,
        _ if is_bind => HARMLESS,
        _ => 0,
    };
    set(there, 0, HARMLESS & !(own | from))
}

/// A new file system of the kernel's or in memory.
fn filesystem(mount: &Mount) -> Result<OwnedFd, SysError> {
    let what = |fstype: &str| format!("mount {}: {fstype}", mount.destination.display());
    match &mount.kind {
        MountKind::Filesystem {
            fstype,
            source,
            data,
        } => mounting::new_filesystem(fstype, source, data)
            .doing(|| format!("{} ({data})", what(fstype))),
        MountKind::Bind { .. } => Err(rustix::io::Errno::NOENT).doing(|| what("bind")),
    }
}

/// A mount with the attributes that are asked for; read-only is it made at the
/// end.
fn changed(mount: OwnedFd, asked: &Mount) -> io::Result<OwnedFd> {
    let Attributes { set, clear } = asked.attributes;
    let attributes = Attributes {
        set: set & !attr::RDONLY,
        clear: clear | attr::RDONLY,
    };
    mounting::set_attributes(mount.as_fd(), attributes, asked.recursive)?;
    Ok(mount)
}

/// A copy of a mount and all below it, attached nowhere.
fn copy(mount: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    use rustix::mount::OpenTreeFlags as Flags;
    let flags = Flags::OPEN_TREE_CLONE
        | Flags::OPEN_TREE_CLOEXEC
        | Flags::AT_EMPTY_PATH
        | Flags::AT_RECURSIVE;
    rustix::mount::open_tree(mount, c"", flags)
}

fn set(mount: BorrowedFd<'_>, set: u64, clear: u64) -> rustix::io::Result<()> {
    sys::mount_setattr(mount, Attributes { set, clear }, 0, false)
        .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
}

fn open_path(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
