//! Telling systemd of limits. It then writes all that it knows of the unit to the cgroup again:
//! quotas in its own steps, and on v1 rules on devices one after the other, the first of which denies
//! everything. So what has been there is put back, and on v1 nobody in the cgroup runs meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trireme_core::spec::oci::LinuxResources;

use super::{Cgroup, CgroupError, Version};
use crate::{Doing, SysError};

/// Values that systemd writes, each with its controller.
const WRITTEN_ON_V1: [(&str, &str); 6] = [
    ("blkio", "blkio.weight"),
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_period_us"),
    ("cpu", "cpu.cfs_quota_us"),
    ("memory", "memory.limit_in_bytes"),
    ("pids", "pids.max"),
];
/// The same of v2.
const WRITTEN_ON_V2: [(&str, &str); 6] = [
    ("cpu", "cpu.max"),
    ("cpu", "cpu.weight"),
    ("memory", "memory.low"),
    ("memory", "memory.max"),
    ("memory", "memory.swap.max"),
    ("pids", "pids.max"),
];
/// How long processes may take to stand still.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(1);

impl Cgroup {
    /// Has systemd change something.
    pub(super) fn undisturbed(
        &self,
        change: impl FnOnce() -> Result<(), CgroupError>,
    ) -> Result<(), CgroupError> {
        let (written, devices) = match self.version {
            Version::V1 => (&WRITTEN_ON_V1, self.read(&("devices", "devices.list"))),
            Version::V2 => (&WRITTEN_ON_V2, None),
        };
        let is_frozen = devices.is_some() && !self.is_frozen() && self.freeze();
        let values: Vec<_> = written.iter().filter_map(|name| self.read(name)).collect();
        let changed = change();
        for (file, value) in values {
            // systemd may have written the same, or a limit that is to grow again.
            let _ = fs::write(file, value.trim());
        }
        let allowed = devices.map_or(Ok(()), |(file, list)| allow_devices(&file, &list));
        if is_frozen {
            self.set_frozen(false)?;
        }
        changed?;
        Ok(allowed?)
    }

    /// Whether it has asked the kernel to stop all processes, and waited for that.
    fn freeze(&self) -> bool {
        if self.set_frozen(true).is_err() {
            return false;
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.is_frozen() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        true
    }

    fn read(&self, (controller, file): &(&str, &str)) -> Option<(PathBuf, String)> {
        let file = self.controller(controller)?.join(file);
        let value = fs::read_to_string(&file).ok()?;
        Some((file, value))
    }

    /// The same limits, with both halves of a quota where one is given: cgroup v2 has one file for
    /// the two, and systemd knows but a share.
    pub(super) fn with_whole_quota(&self, resources: &LinuxResources) -> LinuxResources {
        let mut whole = resources.clone();
        if let Some(cpu) = resources.cpu()
            && cpu.quota().is_some() != cpu.period().is_some()
            && let Some((quota, period)) = self.quota()
        {
            let mut cpu = cpu.clone();
            cpu.set_quota(cpu.quota().or(Some(quota)));
            cpu.set_period(cpu.period().or(Some(period)));
            whole.set_cpu(Some(cpu));
        }
        whole
    }

    /// What it may use of processors in each period, in microseconds; -1 is no limit.
    fn quota(&self) -> Option<(i64, u64)> {
        let text = match self.version {
            Version::V1 => {
                let [quota, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
                    .map(|file| self.read(&("cpu", file)).map(|(_, value)| value));
                format!("{} {}", quota?, period?)
            }
            Version::V2 => self.read(&("cpu", "cpu.max"))?.1,
        };
        let mut words = text.split_ascii_whitespace();
        let quota = match words.next()? {
            "max" => -1,
            number => number.parse().ok()?,
        };
        Some((quota, words.next()?.parse().ok()?))
    }
}

/// Allows what a `devices.list` has said and no more, where it says something else now. Where it was
/// everything, systemd has been told so, or to deny what the list cannot tell.
fn allow_devices(file: &Path, list: &str) -> Result<(), SysError> {
    let is_same = fs::read_to_string(file).is_ok_and(|now| now == list);
    if is_same || list.lines().any(|rule| rule.starts_with('a')) {
        return Ok(());
    }
    let write = |name: &str, rule: &str| {
        let file = file.with_file_name(name);
        fs::write(&file, rule).doing(|| format!("write {rule} to {}", file.display()))
    };
    let denied = match write("devices.deny", "a") {
        // Not where the container has made cgroups below; so could systemd not.
        Err(error) if error.source.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        denied => denied,
    };
    // Each, whatever becomes of the others.
    let allowed = list.lines().map(|rule| write("devices.allow", rule));
    allowed.fold(denied, Result::and)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Layout;
    use crate::cgroup::layout::Hierarchy;

    fn cgroup(run: &Path) -> Cgroup {
        let hierarchy = |name: &str| Hierarchy {
            mount: run.join(name),
            controllers: vec![name.to_owned()],
        };
        let layout = Layout::V1(["cpu", "devices", "memory"].map(hierarchy).into());
        let cgroup = Cgroup::at(&layout, "/one").unwrap();
        for folder in &cgroup.folders {
            fs::create_dir_all(&folder.path).unwrap();
        }
        cgroup
    }

    #[test]
    fn what_has_been_there_is_put_back() {
        let run = tempfile::tempdir().unwrap();
        let cgroup = cgroup(run.path());
        let quota = run.path().join("cpu/one/cpu.cfs_quota_us");
        fs::write(&quota, "25001\n").unwrap();
        fs::write(run.path().join("devices/one/devices.list"), "c 1:3 rwm\n").unwrap();
        cgroup
            .undisturbed(|| {
                fs::write(&quota, "30000\n").unwrap();
                fs::write(run.path().join("devices/one/devices.list"), "a *:* rwm\n").unwrap();
                Ok(())
            })
            .unwrap();
        assert_eq!(fs::read_to_string(quota).unwrap(), "25001");
        let devices = |file: &str| fs::read_to_string(run.path().join("devices/one").join(file));
        assert_eq!(devices("devices.deny").unwrap(), "a");
        assert_eq!(devices("devices.allow").unwrap(), "c 1:3 rwm");
    }

    #[test]
    fn devices_that_are_allowed_as_before_are_not_denied_meanwhile() {
        let run = tempfile::tempdir().unwrap();
        let cgroup = cgroup(run.path());
        fs::write(run.path().join("devices/one/devices.list"), "c 1:3 rwm\n").unwrap();
        cgroup.undisturbed(|| Ok(())).unwrap();
        assert!(!run.path().join("devices/one/devices.deny").exists());
    }

    #[test]
    fn a_container_that_may_use_every_device_still_may() {
        let run = tempfile::tempdir().unwrap();
        let cgroup = cgroup(run.path());
        fs::write(run.path().join("devices/one/devices.list"), "a *:* rwm\n").unwrap();
        cgroup.undisturbed(|| Ok(())).unwrap();
        assert!(!run.path().join("devices/one/devices.deny").exists());
    }

    #[test]
    fn half_a_quota_is_made_whole() {
        let run = tempfile::tempdir().unwrap();
        let cgroup = cgroup(run.path());
        for (file, value) in [
            ("cpu.cfs_quota_us", "50000"),
            ("cpu.cfs_period_us", "100000"),
        ] {
            fs::write(run.path().join("cpu/one").join(file), value).unwrap();
        }
        let of = |json: &str| {
            let whole = cgroup.with_whole_quota(&serde_json::from_str(json).unwrap());
            let cpu = whole.cpu().clone().unwrap();
            (cpu.quota(), cpu.period())
        };
        assert_eq!(
            of(r#"{"cpu": {"period": 50000}}"#),
            (Some(50_000), Some(50_000))
        );
        assert_eq!(
            of(r#"{"cpu": {"quota": 20000}}"#),
            (Some(20_000), Some(100_000))
        );
        assert_eq!(of(r#"{"cpu": {"shares": 2}}"#), (None, None));
    }
}
