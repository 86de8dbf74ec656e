//! Cgroups that systemd makes: transient scopes (`systemd.scope(5)`,
//! `org.freedesktop.systemd1(5)`), which runc calls systemd's cgroup driver.
//!
//! systemd owns the limits of what it makes and sets them again when it is
//! reloaded, so it is told of them too. It makes no scope without a process, and
//! removes one that has none any more.

mod bus;
mod devices;
mod holder;
mod properties;
mod wire;

use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use trireme_core::spec::oci::LinuxResources;

use self::bus::{Bus, BusError};
use self::devices::of_devices;
use self::properties::{Property, of_limits};
use self::wire::Value;
use super::{CgroupError, Version};

pub use holder::hold;

/// The slice of a name that has none.
const DEFAULT_SLICE: &str = "system.slice";
/// How long systemd may take to make a scope, or to let go of one. It may be busy
/// with those of a whole node.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long each of its answers may take while a container stands still for it.
const PATIENCE_FOR_CHANGE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// A scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    unit: String,
    slice: String,
}

impl Scope {
    /// Reads `slice:prefix:name`; none for any other form. The parts are those
    /// of runc (`libcontainer/cgroups/systemd`).
    pub fn parse(path: &str) -> Option<Result<Self, &'static str>> {
        let parts: Vec<_> = path.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return None;
        };
        Some(Self::of(slice, prefix, name))
    }

    fn of(slice: &str, prefix: &str, name: &str) -> Result<Self, &'static str> {
        let slice = if slice.is_empty() {
            DEFAULT_SLICE
        } else {
            slice
        };
        let is_plain = |part: &str| !part.contains('/');
        if name.is_empty() || ![slice, prefix, name].into_iter().all(is_plain) {
            return Err("systemd's form is slice:prefix:name");
        }
        if name.ends_with(".slice") {
            return Err("a container is no slice");
        }
        let unit = if prefix.is_empty() {
            format!("{name}.scope")
        } else {
            format!("{prefix}-{name}.scope")
        };
        let slice = slice.to_owned();
        let scope = Self { unit, slice };
        match scope.path() {
            Some(_) => Ok(scope),
            None => Err("its first part is not the name of a slice"),
        }
    }

    /// Where it is below the mount points: a slice `a-b.slice` is in `a.slice`
    /// (`systemd.slice(5)`).
    pub fn path(&self) -> Option<String> {
        let stem = self.slice.strip_suffix(".slice")?;
        let mut path = String::new();
        if stem != "-" {
            let parts: Vec<_> = stem.split('-').collect();
            if parts.iter().any(|part| part.is_empty()) {
                return None;
            }
            for end in 1..=parts.len() {
                path += &format!("/{}.slice", parts[..end].join("-"));
            }
        }
        Some(format!("{path}/{}", self.unit))
    }

    /// Has systemd make it around a process, with limits, and waits until the process is in it, in
    /// the hierarchies that it is `tracked` in.
    pub fn start(
        &self,
        pid: i32,
        resources: Option<&LinuxResources>,
        version: Version,
        tracked: &[&str],
    ) -> Result<(), CgroupError> {
        let mut properties = vec![
            (
                "Description",
                Value::Text(format!("Container of Trireme, {}", self.unit)),
            ),
            ("Slice", Value::Text(self.slice.clone())),
            ("PIDs", Value::Numbers(vec![pid.unsigned_abs()])),
            ("Delegate", Value::Truth(true)),
            ("DefaultDependencies", Value::Truth(false)),
            // What failed would else be kept.
            ("CollectMode", Value::Text("inactive-or-failed".into())),
        ];
        let input_and_output = match version {
            Version::V1 => "BlockIOAccounting",
            Version::V2 => "IOAccounting",
        };
        for account in [
            "CPUAccounting",
            "MemoryAccounting",
            "TasksAccounting",
            input_and_output,
        ] {
            properties.push((account, Value::Truth(true)));
        }
        if version == Version::V1 {
            let rules = resources.and_then(|resources| resources.devices().as_deref());
            properties.extend(of_devices(rules.unwrap_or_default())?);
        }
        if let Some(resources) = resources {
            properties.extend(of_limits(resources, version)?);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut bus = self.connect()?;
        loop {
            match bus.start_scope(&self.unit, &properties) {
                Ok(()) => break,
                // One that has just ended may not be gone yet.
                Err(error) if error.is("UnitExists") && Instant::now() < deadline => {
                    let _ = bus.reset_failed(&self.unit);
                    std::thread::sleep(10 * PAUSE);
                }
                Err(error) => return Err(self.refused("make", &error)),
            }
        }
        self.wait_for(pid, tracked, deadline)?;
        match version {
            // Making it, systemd may give its neighbours a controller, and moves all who are in them
            // then: whoever is to leave such a one for the scope must not do so meanwhile.
            Version::V1 => bus
                .settle(&self.unit)
                .map_err(|error| self.refused("make", &error)),
            Version::V2 => Ok(()),
        }
    }

    fn wait_for(&self, pid: i32, tracked: &[&str], deadline: Instant) -> Result<(), CgroupError> {
        let path = self.path().unwrap_or_default();
        let file = format!("/proc/{pid}/cgroup");
        loop {
            let seen = fs::read_to_string(&file).unwrap_or_default();
            let is_in = |name: &&str| {
                let wanted = format!("{name}:{path}");
                let mut lines = seen.lines().filter_map(|line| line.split_once(':'));
                lines.any(|(_, place)| place == wanted)
            };
            if tracked.iter().all(is_in) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let reason = format!(
                    "process {pid} is not in it after {} s but in {}",
                    PATIENCE.as_secs(),
                    seen.trim()
                );
                return Err(self.failed("make", reason));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What systemd is to be told of other limits; nothing where it has a property for none.
    pub fn change(
        &self,
        resources: &LinuxResources,
        version: Version,
    ) -> Result<Option<Change<'_>>, CgroupError> {
        let properties = of_limits(resources, version)?;
        if properties.is_empty() {
            return Ok(None);
        }
        let bus = self.connect()?;
        Ok(Some(Change {
            scope: self,
            bus,
            properties,
        }))
    }

    /// Has systemd let go of it, which it also does by itself once there is no
    /// process any more.
    pub fn stop(&self) {
        if let Ok(mut bus) = self.connect() {
            let _ = bus.stop(&self.unit);
        }
    }

    fn connect(&self) -> Result<Bus, CgroupError> {
        Bus::connect().map_err(|error| self.refused("reach systemd for", &error))
    }

    fn refused(&self, what: &'static str, error: &BusError) -> CgroupError {
        self.failed(what, error.to_string())
    }

    fn failed(&self, what: &'static str, reason: String) -> CgroupError {
        CgroupError::Scope {
            what,
            unit: self.unit.clone(),
            reason,
        }
    }
}

/// Other limits, and the connection by which systemd is told of them.
pub struct Change<'a> {
    scope: &'a Scope,
    bus: Bus,
    properties: Vec<Property>,
}

impl Change<'_> {
    /// Tells systemd, and waits until it has written them.
    pub fn make(mut self) -> Result<(), CgroupError> {
        let unit = &self.scope.unit;
        self.bus
            .set_patience(PATIENCE_FOR_CHANGE)
            .map_err(BusError::from)
            .and_then(|()| self.bus.set_properties(unit, &self.properties))
            .and_then(|()| self.bus.settle(unit))
            .map_err(|error| self.scope.refused("limit", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> String {
        Scope::parse(name).unwrap().unwrap().path().unwrap()
    }

    #[test]
    fn names_become_paths_as_with_runc() {
        assert_eq!(
            path("system.slice:docker:a1"),
            "/system.slice/docker-a1.scope"
        );
        assert_eq!(path(":ctr:a"), "/system.slice/ctr-a.scope");
        assert_eq!(path("-.slice::a"), "/a.scope");
        assert_eq!(
            path("kubepods-burstable-podab_c.slice:cri-containerd:d"),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab_c.slice/\
             cri-containerd-d.scope"
        );
    }

    #[test]
    fn what_is_no_name_of_systemds_is_refused() {
        assert_eq!(Scope::parse("/default/a"), None);
        for name in [
            "system.slice:x:",
            "system:x:a",
            "a--b.slice:x:a",
            "../x.slice:x:a",
            "system.slice:x:a/b",
            "system.slice:x:a.slice",
        ] {
            assert!(Scope::parse(name).unwrap().is_err(), "{name}");
        }
    }
}
