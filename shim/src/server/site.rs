//! What exists of a container while it is made: its state on disk and its cgroups.

use std::path::Path;

use trireme_container::cgroup::Cgroup;
use trireme_container::crash;
use trireme_container::process::ProcessId;
use trireme_container::state::{self, Record, StateDir};
use trireme_core::spec::{self, oci};

use super::container::remove_cgroup;
use super::create::Maker;
use super::error::ServiceError;
use super::log::TaskLog;
use super::logger::Logger;

/// What follows a container's name in that of its compilers' cgroup. No other container is called so:
/// an id has no two of `.`, `_` and `-` in a row (containerd's `pkg/identifiers`).
const COMPILER: &str = "--compile";

/// What exists of a container while it is made.
pub(super) struct Site {
    pub state_dir: StateDir,
    pub record: Record,
    pub cgroup_path: String,
    pub log: TaskLog,
}

impl Maker {
    /// The cgroup that a container is to have.
    pub(super) fn cgroup(&self, spec: &oci::Spec, id: &str) -> Result<Cgroup, ServiceError> {
        let linux = spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref()?.to_str());
        let own = || format!("/{}/{id}", self.order.namespace);
        let path = path
            .filter(|path| !path.is_empty())
            .map_or_else(own, str::to_owned);
        Ok(Cgroup::at(&self.layout, &path)?)
    }

    /// Writes the state before anything that it names exists, so that nothing
    /// can be left behind without a trace.
    pub(super) fn site(
        &self,
        spec: &oci::Spec,
        id: &str,
        bundle: &Path,
        cgroup: Cgroup,
        log: TaskLog,
    ) -> Result<Site, ServiceError> {
        let namespace = &self.order.namespace;
        let cgroup_path = cgroup.path().display().to_string();
        let annotations = spec.annotations().clone().unwrap_or_default();
        let record = Record {
            id: id.to_owned(),
            namespace: namespace.clone(),
            group: spec::group(&annotations, id).to_owned(),
            bundle: bundle.to_owned(),
            cgroups: vec![cgroup.clone(), cgroup.sibling(COMPILER)],
            processes: Vec::new(),
            loggers: Vec::new(),
            hooks: state::Hooks::of(spec),
        };
        let state_dir = StateDir::new(&self.order.dir, namespace, id)?;
        state_dir.write(&record)?;
        crash::step("after_state");
        Ok(Site {
            state_dir,
            record,
            cgroup_path,
            log,
        })
    }
}

impl Site {
    /// The container's cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.record.cgroups[0]
    }

    /// Makes the cgroup with its limits, which nobody but `holder` is in.
    pub fn set_limits(
        &self,
        resources: Option<&oci::LinuxResources>,
        holder: Option<i32>,
    ) -> Result<(), ServiceError> {
        self.cgroup().create(resources)?;
        let pids = self.cgroup().pids()?;
        if pids.into_iter().any(|pid| Some(pid) != holder) {
            return Err(ServiceError::Setup(
                "linux.cgroupsPath: the cgroup holds processes already; give each container its own".into(),
            ));
        }
        for what in resources
            .iter()
            .flat_map(|resources| self.cgroup().ignored(resources))
        {
            self.log.warn(&format!(
                "linux.resources.{what} ignored: not supported on this host"
            ));
        }
        Ok(())
    }

    /// Writes the container's first process to the state.
    pub fn remember_init(&self, pid: i32) -> Result<(), ServiceError> {
        crash::step("after_clone");
        self.remember_first(pid, &self.record)
    }

    /// The same before Create has come: the hooks of a container that never was do not run.
    pub fn remember_early(&self, pid: i32) -> Result<(), ServiceError> {
        crash::step("after_clone");
        let mut record = self.record.clone();
        record.hooks.poststop.clear();
        self.remember_first(pid, &record)
    }

    /// Notes that Create has come for what was made early.
    pub fn take_over(&self, pid: i32) -> Result<(), ServiceError> {
        match self.record.hooks.poststop.is_empty() {
            true => Ok(()),
            false => self.remember_first(pid, &self.record),
        }
    }

    fn remember_first(&self, pid: i32, record: &Record) -> Result<(), ServiceError> {
        let mut record = record.clone();
        record.processes.extend(ProcessId::of(pid).ok());
        Ok(self.state_dir.write(&record)?)
    }

    /// Adds a logging binary to the record on disk.
    pub fn remember(&self, logger: &Logger) {
        let process = ProcessId::of(logger.pid()).ok();
        let changed = self
            .state_dir
            .change(|record| record.loggers.extend(process));
        if let Err(error) = changed {
            self.log.warn(&error.to_string());
        }
    }

    /// Removes everything that the record names.
    pub async fn clear(self) {
        for cgroup in &self.record.cgroups {
            remove_cgroup(cgroup, &self.log).await;
        }
        if let Err(error) = self.state_dir.remove() {
            self.log.warn(&error.to_string());
        }
    }
}

/// The limits of a specification.
pub(super) fn resources(spec: &oci::Spec) -> Option<&oci::LinuxResources> {
    spec.linux().as_ref()?.resources().as_ref()
}
