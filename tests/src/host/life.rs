//! Bringing hosts up and taking them down, safe to call from several programs at once.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use rustix::process::Signal;

use super::daemon::Status;
use super::mounts::BIN_FOLDER;
use super::namespace::PID_FILE;
use super::packages::GoTools;
use super::{
    Instance, KINDS, Kind, Root, all_states, cgroup, containerd, docker, emulated, images, install,
    namespace, packages, roots,
};
use crate::process::Known;

const END_LIMIT: Duration = Duration::from_secs(20);

/// Whether the host's programs must include this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// The latest `make build`; without one the host does not come up.
    Latest,
    /// Whatever is installed already, or nothing: for tests of the host itself.
    AsItIs,
}

/// Brings a host up unless it is, and its copy of this build to the latest.
pub fn ensure_up(instance: &Instance, build: Build) -> Result<()> {
    let _lock = lock(instance)?;
    let state = instance.state()?;
    if init(instance)?.is_none() {
        install_packages(instance.kind)?;
        clear(instance)?;
        fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
        install_build(instance, build)?;
        return bring_up(instance).inspect_err(|_| {
            // Half a host is worse than none.
            let _ = take_down(instance);
        });
    }
    install_build(instance, build)?;
    if instance.is_emulated() {
        emulated::refresh_build(instance)?;
    }
    for daemon in instance.kind.daemons() {
        if daemon.status(instance)? == Status::Ended {
            let name = daemon.name;
            eprintln!("host: {name} of {instance} had ended; starting it again");
            daemon.start(instance)?;
        }
    }
    match containerd::DAEMON.status(instance)? {
        Status::Running(_) => images::refresh(instance),
        _ => Ok(()),
    }
}

/// Gets all that hosts are made of, whatever their kind: the first that come up wait for none of it.
pub fn prepare() -> Result<()> {
    KINDS.iter().try_for_each(install_packages)?;
    packages::CRITEST.ensure()
}

fn install_build(instance: &Instance, build: Build) -> Result<()> {
    match build {
        Build::Latest => install::refresh(&instance.state()?.join(BIN_FOLDER)),
        Build::AsItIs => Ok(()),
    }
}

fn install_packages(kind: &Kind) -> Result<()> {
    packages::ensure_debian(kind.packages)?;
    if let Root::Debian(release) | Root::Emulated(release, _) = kind.root {
        roots::ensure(release)?;
    }
    kind.go_tools().into_iter().try_for_each(GoTools::ensure)
}

fn bring_up(instance: &Instance) -> Result<()> {
    if instance.is_emulated() {
        emulated::start(instance)?;
        emulated::refresh_build(instance)?;
    } else {
        namespace::start(instance)?;
    }
    for daemon in instance.kind.daemons() {
        daemon.start(instance)?;
    }
    images::refresh(instance)
}

/// Ends a host with all that runs in it, and removes its cgroups and files.
pub fn down(instance: &Instance) -> Result<()> {
    let lock = lock(instance)?;
    take_down(instance)?;
    fs::remove_file(lock_file(instance)?).context("remove the host's lock")?;
    drop(lock);
    Ok(())
}

fn take_down(instance: &Instance) -> Result<()> {
    if let Some(init) = init(instance)? {
        // A keeper ends its machine first.
        let signal = if instance.is_emulated() {
            Signal::TERM
        } else {
            Signal::KILL
        };
        init.signal(signal)?;
        init.wait_for_end(END_LIMIT)
            .with_context(|| format!("end host {instance}"))?;
    }
    emulated::end_all(&instance.state()?)?;
    clear(instance)
}

/// Removes what a host that has ended left behind. Its mounts went with its mount namespace.
fn clear(instance: &Instance) -> Result<()> {
    cgroup::remove(&instance.cgroup()?, END_LIMIT)?;
    let state = instance.state()?;
    match fs::remove_dir_all(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", state.display()))
        }
        _ => Ok(()),
    }
}

/// Ends containerd of a host and starts it again over the same state.
pub fn restart_containerd(instance: &Instance, signal: Signal) -> Result<()> {
    let _lock = lock(instance)?;
    containerd::DAEMON.stop(instance, signal)?;
    start_again(instance)
}

/// Ends containerd of a host until [`start_containerd`].
pub fn stop_containerd(instance: &Instance, signal: Signal) -> Result<()> {
    let _lock = lock(instance)?;
    containerd::DAEMON.stop(instance, signal)
}

/// Starts containerd of a host again.
pub fn start_containerd(instance: &Instance) -> Result<()> {
    let _lock = lock(instance)?;
    start_again(instance)
}

fn start_again(instance: &Instance) -> Result<()> {
    containerd::DAEMON.start(instance)?;
    docker::wait_for_containerd(instance)
}

/// The pid 1 of a host that is up.
pub fn init(instance: &Instance) -> Result<Option<Known>> {
    let known = Known::load(&instance.state()?.join(PID_FILE))?;
    Ok(known.filter(Known::is_alive))
}

/// The hosts that have a state folder, up or not.
pub fn list() -> Result<Vec<Instance>> {
    let folder = all_states()?;
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(Vec::new());
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| Instance::parse(entry.ok()?.file_name().to_str()?).ok())
        .collect();
    found.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(found)
}

fn lock_file(instance: &Instance) -> Result<PathBuf> {
    Ok(all_states()?.join(format!("{instance}.lock")))
}

fn lock(instance: &Instance) -> Result<Flock<File>> {
    let path = lock_file(instance)?;
    fs::create_dir_all(all_states()?)?;
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        // The one who held it before may have taken the host down, the file included.
        let same = fs::metadata(&path).is_ok_and(|now| {
            lock.metadata()
                .is_ok_and(|held| held.ino() == now.ino() && held.dev() == now.dev())
        });
        if same {
            return Ok(lock);
        }
    }
}
