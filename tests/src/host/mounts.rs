//! The mounts of a host, laid out by its pid 1 in a mount namespace of its own.
//!
//! A host over this machine's files has some folders to itself. A host of another release has a
//! whole root to itself, an overlay over one that all such hosts share, and in it at their own
//! paths the few folders of the machine that tests need.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::Flock;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::cgroup::{self, Hierarchy};
use super::daemon::write;
use super::roots::{self, Release};
use super::{Instance, Root, install, kubernetes};
use crate::paths;

/// The folders that a host over this machine has to itself: what is written there stays in its
/// state folder.
const PRIVATE: [&str; 3] = ["etc", "opt", "var"];
/// The folders of daemons that must not lie on an overlay, since overlays are made of them, or
/// since the free space is asked of them.
const PLAIN: [&str; 4] = [
    "var/lib/containerd",
    "var/lib/docker",
    "var/lib/kubelet",
    "var/lib/trireme",
];
/// The folder in a host's state that is mounted at [`install::FOLDER`].
pub const BIN_FOLDER: &str = "bin";

/// What has to live as long as the mounts.
pub struct Held {
    _root: Option<Flock<File>>,
}

/// Makes the mounts of a host in the caller's own mount namespace.
pub fn lay_out(instance: &Instance) -> Result<Held> {
    let state = instance.state()?;
    let hierarchies = cgroup::hierarchies()?;
    // Nothing that is mounted in the host reaches the machine.
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("make all mounts private")?;
    let held = match instance.kind.root {
        Root::Machine => over_the_machine(&state)?,
        Root::Debian(release) => over_a_release(&state, release)?,
        Root::Emulated(..) => bail!("{instance} is a machine of its own"),
    };
    mount_new("tmpfs", Path::new("/run"), "mode=0755")?;
    fs::create_dir_all("/run/lock")?;
    mount_new("proc", Path::new("/proc"), "")?;
    mount_cgroups(&hierarchies)?;
    if instance.kind.kubernetes {
        keep_settings(&kubernetes::SETTINGS)?;
    }
    Ok(held)
}

fn over_the_machine(state: &Path) -> Result<Held> {
    let root = Path::new("/");
    for name in PRIVATE {
        let target = root.join(name);
        overlay(&target, &target, &state.join("overlay").join(name))?;
    }
    bind_own(state, root)?;
    Ok(Held { _root: None })
}

fn over_a_release(state: &Path, release: &Release) -> Result<Held> {
    let (lower, lock) = roots::hold(release)?;
    let root = state.join("root");
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    overlay(&lower, &root, &state.join("overlay/root"))?;
    for folder in shared()? {
        bind(&folder, &inside(&root, &folder), MsFlags::empty())?;
    }
    bind(Path::new("/dev"), &root.join("dev"), MsFlags::MS_REC)?;
    bind_own(state, &root)?;
    nix::unistd::chdir(&root)?;
    // Onto each other, so that the old root is on top and can be taken off; see pivot_root(2).
    nix::unistd::pivot_root(".", ".").context("make the release's root the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("take the machine's root away")?;
    nix::unistd::chdir("/")?;
    // One that shows the devices of the host's own network namespace.
    mount_new("sysfs", Path::new("/sys"), "")?;
    Ok(Held { _root: Some(lock) })
}

/// The folders of the machine that a host of another release has at the same paths.
fn shared() -> Result<Vec<PathBuf>> {
    let program = std::env::current_exe().context("find the path of this program")?;
    let programs = program.parent().context("this program has no folder")?;
    Ok(vec![
        PathBuf::from("/tmp"),
        paths::checkout().to_owned(),
        paths::cache()?,
        programs.to_owned(),
    ])
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Binds what the host's state holds to its places in the host.
fn bind_own(state: &Path, root: &Path) -> Result<()> {
    for name in PLAIN {
        let own = state.join("plain").join(name);
        bind(&own, &root.join(name), MsFlags::empty())?;
    }
    let programs = inside(root, Path::new(install::FOLDER));
    bind(&state.join(BIN_FOLDER), &programs, MsFlags::empty())
}

fn overlay(lower: &Path, target: &Path, own: &Path) -> Result<()> {
    let (upper, work) = (own.join("upper"), own.join("work"));
    for folder in [&upper, &work] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    mount_new("overlay", target, &options)
}

fn bind(from: &Path, to: &Path, flags: MsFlags) -> Result<()> {
    for folder in [from, to] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let flags = MsFlags::MS_BIND | flags;
    mount(Some(from), to, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("bind {} to {}", from.display(), to.display()))
}

fn mount_new(fstype: &str, target: &Path, options: &str) -> Result<()> {
    mount(
        Some(fstype),
        target,
        Some(fstype),
        MsFlags::empty(),
        Some(options),
    )
    .with_context(|| format!("mount {fstype} at {}", target.display()))
}

/// Puts files of the host's own over settings of the kernel, which it shares with the machine.
fn keep_settings(settings: &[(&str, &str)]) -> Result<()> {
    for (setting, value) in settings {
        let own = Path::new("/run/sysctl").join(setting);
        write(&own, value)?;
        let place = Path::new("/proc/sys").join(setting);
        mount(
            Some(&own),
            &place,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .with_context(|| format!("bind a file to {}", place.display()))?;
    }
    Ok(())
}

/// The same hierarchies at the same places, each from the root of the host's cgroup namespace.
fn mount_cgroups(hierarchies: &[Hierarchy]) -> Result<()> {
    if hierarchies
        .iter()
        .all(|hierarchy| hierarchy.path != Path::new(cgroup::ROOT))
    {
        mount_new("tmpfs", Path::new(cgroup::ROOT), "mode=0755")?;
    }
    for hierarchy in hierarchies {
        fs::create_dir_all(&hierarchy.path)?;
        mount_new(hierarchy.fstype(), &hierarchy.path, &hierarchy.options)?;
    }
    Ok(())
}
