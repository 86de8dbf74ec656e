//! What the server keeps of each container under `/run/trireme`, so that
//! somebody else can clean up after it.
//!
//! ```text
//! /run/trireme/<key>.new                         a server that has had no task yet
//! /run/trireme/<key>/.lock                       locked while a server is looked for or leaves
//! /run/trireme/<key>/.alive                      locked by the server as long as it lives
//! /run/trireme/<key>/.starting/<id>              a task that is about to come
//! /run/trireme/<key>/<namespace>/<id>/state.json
//! /run/trireme/<key>/<namespace>/<pod>/shm       memory that a pod's containers share
//! <bundle>/trireme -> /run/trireme/<key>/<namespace>/<id>, made by `start`
//! ```
//!
//! `<key>` is one server: an address of containerd, a build, a configuration
//! and, for servers of one pod, the pod. Whoever holds `.alive` writes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use trireme_core::bundle;
use trireme_core::spec::oci;

use crate::cgroup::Cgroup;
use crate::pod::Files;
use crate::process::{ProcessId, kill_now};
use crate::{Doing, SysError};

/// Where servers keep their state.
pub const ROOT: &str = "/run/trireme";
/// How long the logging binaries of a container whose server is gone may take to write out what
/// they were sent, before they are killed.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// What is known of a container on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The container's id.
    pub id: String,
    /// Its namespace in containerd.
    pub namespace: String,
    /// The id of the group, usually a pod, that it belongs to.
    pub group: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its cgroups, those of its compiler last.
    pub cgroups: Vec<Cgroup>,
    /// Every process that was spawned for it, init first, and not reaped with
    /// init alive.
    pub processes: Vec<ProcessId>,
    /// Logging binaries that take the output of those processes.
    #[serde(default)]
    pub loggers: Vec<ProcessId>,
    /// What has to run outside of it and when.
    pub hooks: Hooks,
}

/// Hooks of the OCI specification that run outside the container
/// ("POSIX-platform Hooks" in `config.md`), and what they are told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    /// Once the namespaces exist; deprecated prestart hooks first.
    pub create_runtime: Vec<oci::Hook>,
    /// After the guest runs.
    pub poststart: Vec<oci::Hook>,
    /// After the container's deletion.
    pub poststop: Vec<oci::Hook>,
    /// The container's annotations, where there is a hook to be told.
    pub annotations: HashMap<String, String>,
}

impl Hooks {
    /// The hooks of a specification.
    pub fn of(spec: &oci::Spec) -> Self {
        let Some(hooks) = spec.hooks() else {
            return Self::default();
        };
        #[allow(deprecated)]
        let mut create_runtime = hooks.prestart().clone().unwrap_or_default();
        create_runtime.extend(hooks.create_runtime().clone().unwrap_or_default());
        Hooks {
            create_runtime,
            poststart: hooks.poststart().clone().unwrap_or_default(),
            poststop: hooks.poststop().clone().unwrap_or_default(),
            annotations: spec.annotations().clone().unwrap_or_default(),
        }
    }
}

/// The state of one container on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The state of a container of the server at `server`, which may not exist.
    ///
    /// # Errors
    ///
    /// For a namespace or id that is no file name.
    pub fn new(server: &Path, namespace: &str, id: &str) -> Result<Self, SysError> {
        for name in [namespace, id] {
            if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\0']) {
                return Err(io::Error::from(io::ErrorKind::InvalidInput))
                    .doing(|| format!("keep the state of \"{namespace}/{id}\""));
            }
        }
        Ok(StateDir(server.join(namespace).join(id)))
    }

    /// The state that a bundle's link leads to, or `None` where it leads
    /// nowhere.
    pub fn of_bundle(bundle: &Path) -> Option<Self> {
        bundle::state(bundle).map(StateDir)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of the server that the state belongs to.
    pub fn server(&self) -> Option<&Path> {
        self.0.parent()?.parent()
    }

    /// Whether there is state.
    pub fn exists(&self) -> bool {
        self.0.join("state.json").exists()
    }

    /// Writes the state, all of it or nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, record: &Record) -> Result<(), SysError> {
        let what = || format!("write the state {}", self.0.display());
        fs::create_dir_all(&self.0).doing(what)?;
        let temporary = self.0.join("state.json.tmp");
        let text = serde_json::to_vec(record)
            .map_err(io::Error::from)
            .doing(what)?;
        fs::write(&temporary, text).doing(what)?;
        fs::rename(&temporary, self.0.join("state.json")).doing(what)
    }

    /// Changes the state that is there, all of it or nothing. Only for whoever
    /// holds `.alive`, from one thread.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be written.
    pub fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), SysError> {
        let mut record = self
            .read()?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            .doing(|| format!("change the state {}", self.0.display()))?;
        change(&mut record);
        self.write(&record)
    }

    /// Reads the state; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn read(&self) -> Result<Option<Record>, SysError> {
        let path = self.0.join("state.json");
        let what = || format!("read the state {}", path.display());
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing(what),
            Ok(text) => serde_json::from_slice(&text)
                .map_err(io::Error::from)
                .doing(what)
                .map(Some),
        }
    }

    /// Removes the state and, when it was the last one, its namespace's folder.
    ///
    /// # Errors
    ///
    /// When it cannot be removed.
    pub fn remove(&self) -> Result<(), SysError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).doing(|| format!("remove the state {}", self.0.display()))
            }
            _ => {
                if let Some(namespace) = self.0.parent() {
                    let _ = fs::remove_dir(namespace);
                }
                Ok(())
            }
        }
    }
}

/// The states of every container of the server at `server`.
///
/// # Errors
///
/// When the folder cannot be read; one that is not there holds none.
pub fn all(server: &Path) -> Result<Vec<StateDir>, SysError> {
    let folders = |path: &Path| -> Result<Vec<PathBuf>, SysError> {
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).doing(|| format!("read {}", path.display())),
            Ok(entries) => Ok(entries
                .flatten()
                .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
                .filter(|entry| entry.file_type().is_ok_and(|typ| typ.is_dir()))
                .map(|entry| entry.path())
                .collect()),
        }
    };
    let mut states = Vec::new();
    for namespace in folders(server)? {
        states.extend(folders(&namespace)?.into_iter().map(StateDir));
    }
    Ok(states)
}

/// Ends and removes everything of a container whose server is gone.
///
/// # Errors
///
/// When a process does not die or a cgroup does not go before the deadline;
/// the state stays, for another try.
pub fn clean(state: &StateDir, deadline: Instant) -> Result<Option<Record>, SysError> {
    let Some(record) = state.read()? else {
        state.remove()?;
        return Ok(None);
    };
    for cgroup in &record.cgroups {
        // On version 1, one that was paused does not even die of SIGKILL.
        let _ = cgroup.set_frozen(false);
    }
    for process in &record.processes {
        end(*process, deadline)?;
    }
    for cgroup in &record.cgroups {
        empty(cgroup, deadline)?;
    }
    // Nobody is left to write to them, so they come to the end of what they read.
    let patience = deadline.min(Instant::now() + LAST_OUTPUT);
    for logger in &record.loggers {
        let what = || format!("wait for the logging binary with pid {}", logger.pid);
        if let Some(pidfd) = logger.open().doing(what)?
            && !ended_by(&pidfd, patience).doing(what)?
        {
            end(*logger, deadline)?;
        }
    }
    Files::at(state.path()).unmount()?;
    state.remove()?;
    Ok(Some(record))
}

fn end(process: ProcessId, deadline: Instant) -> Result<(), SysError> {
    let what = || format!("end process {}", process.pid);
    let Some(pidfd) = process.open().doing(what)? else {
        return Ok(());
    };
    kill_now(pidfd.as_fd());
    match ended_by(&pidfd, deadline) {
        Ok(false) => Err(io::Error::from(io::ErrorKind::TimedOut)).doing(what),
        other => other.map(drop).doing(what),
    }
}

/// Whether a process has ended at that time. Waits no longer.
fn ended_by(pidfd: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = rustix::time::Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut poll = [PollFd::new(pidfd, PollFlags::IN)];
    Ok(rustix::event::poll(&mut poll, Some(&timeout))? > 0)
}

/// Kills what is in a cgroup and removes it. The kernel lets go of a cgroup a
/// moment after its last process, so this asks again until the deadline.
fn empty(cgroup: &Cgroup, deadline: Instant) -> Result<(), SysError> {
    loop {
        for pid in cgroup.pids()? {
            if let Ok(process) = ProcessId::of(pid) {
                end(process, deadline)?;
            }
        }
        match cgroup.remove() {
            Err(_) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bundle: &Path, processes: Vec<ProcessId>) -> Record {
        Record {
            id: "one".into(),
            namespace: "default".into(),
            group: "one".into(),
            bundle: bundle.into(),
            cgroups: Vec::new(),
            processes,
            loggers: Vec::new(),
            hooks: Hooks::default(),
        }
    }

    #[test]
    fn state_is_found_again_through_the_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let (server, folder) = (dir.path().join("server"), dir.path().join("bundle"));
        fs::create_dir(&folder).unwrap();
        let state = StateDir::new(&server, "default", "one").unwrap();
        assert!(!state.exists());
        let record = record(&folder, Vec::new());
        bundle::link(&folder, state.path()).unwrap();
        state.write(&record).unwrap();
        let found = StateDir::of_bundle(&folder).unwrap();
        assert_eq!(found, state);
        assert_eq!(found.read().unwrap(), Some(record));
        assert_eq!(found.server(), Some(server.as_path()));
        assert_eq!(all(&server).unwrap(), std::slice::from_ref(&state));
        state.remove().unwrap();
        assert!(!server.join("default").exists());
    }

    #[test]
    fn state_that_is_there_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path(), "default", "one").unwrap();
        let own = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(state.change(|record| record.processes.push(own)).is_err());
        assert!(!state.exists());
        state.write(&record(dir.path(), Vec::new())).unwrap();
        state.change(|record| record.processes.push(own)).unwrap();
        assert_eq!(state.read().unwrap().unwrap().processes, [own]);
    }

    #[test]
    fn an_id_is_no_path() {
        for id in ["", ".", "..", "a/b"] {
            assert!(StateDir::new(Path::new("/x"), "default", id).is_err());
        }
    }

    #[test]
    fn cleaning_ends_the_process_and_removes_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path(), "default", "one").unwrap();
        let mut sleeper = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let process = ProcessId::of(sleeper.id() as i32).unwrap();
        state.write(&record(dir.path(), vec![process])).unwrap();
        clean(&state, Instant::now() + Duration::from_secs(5)).unwrap();
        assert!(!state.exists());
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&sleeper.wait().unwrap()),
            Some(9)
        );
        assert!(clean(&state, Instant::now()).unwrap().is_none());
    }

    #[test]
    fn cleaning_lets_a_logging_binary_come_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path(), "default", "one").unwrap();
        let run = |seconds: &str| {
            let sleeper = std::process::Command::new("sleep").arg(seconds).spawn();
            let sleeper = sleeper.unwrap();
            (ProcessId::of(sleeper.id() as i32).unwrap(), sleeper)
        };
        let (quick, mut quicks) = run("0.3");
        let (stuck, mut stucks) = run("1000");
        let mut record = record(dir.path(), Vec::new());
        record.loggers = vec![stuck, quick];
        state.write(&record).unwrap();
        clean(&state, Instant::now() + Duration::from_secs(5)).unwrap();
        assert!(!state.exists());
        assert_eq!(quicks.wait().unwrap().code(), Some(0));
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&stucks.wait().unwrap()),
            Some(9)
        );
    }
}
