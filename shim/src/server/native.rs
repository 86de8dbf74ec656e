//! Linux programs: a helper makes them with `libcontainer`, and from then on
//! they are processes like any other.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use trireme_container::cgroup::Cgroup;
use trireme_container::filter::Filter;
use trireme_container::link::Link;
use trireme_container::native::{self, Confinement, ExecOrder, FromHelper, HelperOrder, Offspring};
use trireme_container::process::{Child, ProcessId, Spawn, kill, new_mounts};
use trireme_container::state::StateDir;
use trireme_container::stdio;
use trireme_core::memory_file;
use trireme_core::plan::Root;
use trireme_core::spec::oci;

use super::abandon::Abandoned;
use super::aside::aside;
use super::container::{Container, Launcher};
use super::create::{Maker, given_up};
use super::error::ServiceError;
use super::process::{ended, reap, receive};
use super::ready;
use super::streams::{GuestStreams, ServerStreams};

/// The name of the helper's program.
const NAME: &CStr = c"trireme-shim";

/// A container whose program is to be a Linux one.
pub(super) struct Launch<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its specification.
    pub spec: &'a oci::Spec,
    /// Its system call filter, unless only `libcontainer` can make it.
    pub filter: Option<&'a Filter>,
    /// Its root file system.
    pub root: &'a Root,
    /// Where its state is kept.
    pub state: &'a StateDir,
    /// Its cgroup, which is there.
    pub cgroup: &'a Cgroup,
    /// The path of that cgroup below the mount points.
    pub cgroup_path: &'a str,
    /// Whether anybody still wants it.
    pub abandoned: &'a Abandoned,
}

/// A container's first process, which waits to be let run.
pub(super) struct Launched {
    /// What it is.
    pub launcher: Launcher,
    /// Its process.
    pub child: Child,
    /// What lets it run.
    pub link: Link,
    /// What the server keeps of its streams.
    pub streams: ServerStreams,
    /// The end of the helper that has made it, if one has.
    pub helper: Option<JoinHandle<()>>,
}

impl Maker {
    /// Has a helper make the container's process.
    pub(super) async fn launch(
        &self,
        launch: &Launch<'_>,
        streams: GuestStreams,
    ) -> Result<Launched, ServiceError> {
        let refused = |reason: String| {
            // As it is where Docker looks at the beginning.
            let reason = reason.trim().to_owned();
            if reason.starts_with("exec: ") {
                return ServiceError::Setup(reason);
            }
            let handler = &self.order.engine.handler;
            ServiceError::Setup(format!("handler \"{handler}\", Linux program: {reason}"))
        };
        native::refuse(launch.spec).map_err(refused)?;
        let dir = launch.state.path().join("native");
        let (helper, link) = self.helper(launch, &dir, &streams)?;
        let offspring = Offspring::of(helper.pid);
        let answer = launch.abandoned.or(receive::<FromHelper>(&link)).await;
        let (pid, terminal) = match answer {
            Some(Ok(Some((FromHelper::Ready { pid }, terminal)))) => (pid, terminal),
            other => {
                give_up(&helper, offspring, launch.cgroup).await;
                return Err(match other {
                    None => given_up(),
                    Some(Ok(Some((FromHelper::Failed { message }, _)))) => refused(message),
                    Some(Ok(_)) => refused("its helper ended without a word".into()),
                    Some(Err(error)) => refused(format!("its helper: {error}")),
                });
            }
        };
        let made = child(pid).and_then(|child| {
            let streams = streams.handed_over_to(terminal)?;
            launch
                .state
                .change(|record| record.processes = ProcessId::of(pid).into_iter().collect())?;
            Ok((child, streams))
        });
        match made {
            Ok((child, streams)) => {
                let helper = tokio::spawn(see_off(helper));
                Ok(Launched {
                    launcher: Launcher::Native,
                    child,
                    link: link.into_inner(),
                    streams,
                    helper: Some(helper),
                })
            }
            Err(error) => {
                give_up(&helper, offspring, launch.cgroup).await;
                Err(error)
            }
        }
    }

    fn helper(
        &self,
        launch: &Launch<'_>,
        dir: &Path,
        streams: &GuestStreams,
    ) -> Result<(Child, AsyncFd<Link>), ServiceError> {
        fs::create_dir(dir).map_err(failed)?;
        let Root { path, mounts, .. } = launch.root;
        let mut spec = native::specification(
            launch.spec.clone(),
            path,
            mounts,
            launch.cgroup,
            launch.cgroup_path,
        );
        let filter = launch.filter.cloned();
        let confinement = filter.map(|filter| Confinement::taken_from(&mut spec, filter));
        let order = HelperOrder {
            id: launch.id.to_owned(),
            dir: dir.to_owned(),
            spec,
            rootfs: mounts.clone(),
            cgroup: native::left_hierarchies(launch.cgroup),
            confinement,
        };
        self.spawn_helper(&Helper {
            verb: c"native",
            order: &order,
            streams: Some(streams),
            new_namespaces: new_mounts(),
            first: None,
            cgroup: None,
        })
    }

    /// Spawns a process that is to become a Linux program beside the first one
    /// of a container.
    pub(super) fn beside(
        &self,
        container: &Container,
        order: &ExecOrder,
        streams: &GuestStreams,
    ) -> Result<(Child, AsyncFd<Link>), ServiceError> {
        let first = container.init.open()?;
        let cgroup = container.cgroup.clone_into()?;
        self.spawn_helper(&Helper {
            verb: c"exec",
            order,
            streams: Some(streams),
            new_namespaces: 0,
            first: Some(first.as_fd()),
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
        })
    }

    /// Spawns a process of the program that this server runs.
    pub(super) fn spawn_helper<T: Serialize>(
        &self,
        helper: &Helper<'_, T>,
    ) -> Result<(Child, AsyncFd<Link>), ServiceError> {
        let order = memory_file::sealed_json("order", helper.order).map_err(failed)?;
        let (here, there) = ready::link().map_err(failed)?;
        let null = stdio::null().map_err(failed)?;
        // A terminal is made in the container's own tree.
        let stdio = match helper.streams {
            Some(streams) if !streams.is_terminal() => streams.borrow(),
            _ => [null.as_fd(); 3],
        };
        let child = Spawn {
            executor: &self.shim,
            name: NAME,
            verb: helper.verb,
            stdio,
            terminal: false,
            link: there.as_fd(),
            plan: order.as_fd(),
            subject: helper.first,
            new_namespaces: helper.new_namespaces,
            pid_namespace: None,
            cgroup: helper.cgroup,
        }
        .spawn()?;
        Ok((child, here))
    }
}

/// A helper to spawn.
pub(super) struct Helper<'a, T> {
    /// What it is told to be.
    pub verb: &'static CStr,
    /// What it is told to do.
    pub order: &'a T,
    /// The streams that it is to have or to hand on.
    pub streams: Option<&'a GuestStreams>,
    /// Flags of `clone(2)`.
    pub new_namespaces: i32,
    /// The container's first process, which it joins.
    pub first: Option<BorrowedFd<'a>>,
    /// The unified cgroup to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

fn failed(error: io::Error) -> ServiceError {
    ServiceError::Setup(format!("cannot start the helper: {error}"))
}

/// The container's first process, a child of this one that nobody has reaped.
fn child(pid: i32) -> Result<Child, ServiceError> {
    Child::of(pid).map_err(|error| ServiceError::Setup(format!("process {pid}: {error}")))
}

/// Waits for the end of a helper that has done its work.
async fn see_off(helper: Child) {
    let _ = ended(&helper).await;
    let _ = aside(native::reap_intermediates).await;
}

/// Ends a helper, and whatever it has made: first what makes the container's first process, which is
/// then in the cgroup or not there, and is a child of this process.
async fn give_up(helper: &Child, offspring: Option<Offspring>, cgroup: &Cgroup) {
    let _ = reap(helper).await;
    let cgroup = cgroup.clone();
    aside(move || {
        // What does not end now is seen by whoever looks for what holds the cgroup.
        let _ = offspring.as_ref().map_or(Ok(()), Offspring::kill);
        kill_all(&cgroup);
        let _ = native::reap_left();
    })
    .await;
}

/// Kills every process of a cgroup, and those that are born meanwhile. Those that are born faster
/// than that stand still for it.
pub(super) fn kill_all(cgroup: &Cgroup) {
    const ROUNDS: usize = 100;
    const PAUSE: Duration = Duration::from_millis(1);
    for round in 0..ROUNDS {
        let stands = round > ROUNDS / 10 && cgroup.set_frozen(true).is_ok();
        if stands {
            std::thread::sleep(10 * PAUSE);
        }
        let pids = cgroup.pids().unwrap_or_default();
        signal_all(&pids, libc::SIGKILL);
        if stands {
            // On v1 nobody dies before.
            let _ = cgroup.set_frozen(false);
        }
        if pids.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Sends a signal to processes, given by its number. Those that are gone are
/// none.
pub(super) fn signal_all(pids: &[i32], signal: i32) {
    for pid in pids {
        if let Ok(Some(pidfd)) = ProcessId::of(*pid).and_then(ProcessId::open) {
            let _ = kill(pidfd.as_fd(), signal);
        }
    }
}
