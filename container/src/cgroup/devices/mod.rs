//! Access to devices on cgroup v2, which has no files for it: a program in the
//! kernel decides each access (`BPF_PROG_TYPE_CGROUP_DEVICE`,
//! `cgroup-v2.rst`, "Device controller").
//!
//! Of the rules that are about an access, the last one counts, for reading,
//! writing and making a node each; what no rule is about is denied. The rules
//! are those of the specification and then those of [`ALWAYS`].

mod bpf;
mod program;

use std::fs::File;
use std::path::Path;

use trireme_core::spec::oci::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use self::program::program;
pub(super) use self::program::{Access, Kind, Rule};
use super::{Cgroup, CgroupError, Version, unsupported, v1};
use crate::Doing;

/// What every container may do, as runc has it (`specconv.AllowedDevices`): make
/// any node, and use those devices that do no harm.
pub(super) const ALWAYS: [Rule; 10] = [
    Rule::allow(Kind::Char, None, None, Access::MAKE),
    Rule::allow(Kind::Block, None, None, Access::MAKE),
    device(1, Some(3)), // null
    device(1, Some(5)), // zero
    device(1, Some(7)), // full
    device(1, Some(8)), // random
    device(1, Some(9)), // urandom
    device(5, Some(0)), // tty
    device(5, Some(2)), // ptmx
    device(136, None),  // pts
];

const fn device(major: i32, minor: Option<i32>) -> Rule {
    Rule::allow(Kind::Char, Some(major), minor, Access::ALL)
}

impl Cgroup {
    /// Has the cgroup ready for Linux programs, where so far only a guest was to be
    /// in it: they may use what every container may and what the rules of the
    /// specification say, and no other device.
    ///
    /// # Errors
    ///
    /// When devices cannot be limited.
    pub fn admit_programs(&self, resources: Option<&LinuxResources>) -> Result<(), CgroupError> {
        match self.version {
            Version::V1 => {
                let rules = resources.and_then(|resources| resources.devices().as_deref());
                let writes = v1::devices(rules.unwrap_or_default());
                let mut last = None;
                writes
                    .iter()
                    .try_for_each(|write| self.write(write, &mut last))
            }
            // They were limited when it was made.
            Version::V2 => Ok(()),
        }
    }

    /// On v2, where there are no files for this.
    pub(super) fn limit_devices(
        &self,
        resources: Option<&LinuxResources>,
    ) -> Result<(), CgroupError> {
        let rules = resources.and_then(|resources| resources.devices().as_deref());
        limit(&self.folders[0].path, rules.unwrap_or_default())
    }
}

/// Limits the devices that the processes of a cgroup may use, in place of what
/// was set before.
///
/// # Errors
///
/// For a rule that cannot be, and when the kernel refuses.
fn limit(folder: &Path, rules: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
    let mut all = rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    all.extend(ALWAYS);
    let what = || format!("set linux.resources.devices of {}", folder.display());
    let cgroup = File::open(folder).doing(what)?;
    bpf::replace(&cgroup, &program(&all)).doing(what)?;
    Ok(())
}

/// Reads a rule of the specification.
pub(super) fn rule(rule: &LinuxDeviceCgroup) -> Result<Rule, CgroupError> {
    let kind = match rule.typ() {
        Some(LinuxDeviceType::B) => Kind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Char,
        _ => Kind::Any,
    };
    let number = |number: Option<i64>| match number {
        Some(number) if number >= 0 => i32::try_from(number)
            .map(Some)
            .map_err(|_| unsupported("devices", "no device has so high a number")),
        _ => Ok(None),
    };
    let access = match rule.access().as_deref() {
        None | Some("") => Access::ALL,
        Some(letters) => Access::parse(letters)
            .ok_or_else(|| unsupported("devices", "access is made of the letters r, w and m"))?,
    };
    Ok(Rule {
        allow: rule.allow(),
        kind,
        major: number(rule.major())?,
        minor: number(rule.minor())?,
        access,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// A cgroup of the machine's v2 hierarchy, gone with this.
    struct Cgroup(PathBuf);

    impl Cgroup {
        fn make() -> Self {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let mount = mounts
                .lines()
                .find(|line| line.contains(" - cgroup2 "))
                .and_then(|line| line.split(' ').nth(4))
                .expect("a cgroup2 hierarchy is mounted");
            let path = Path::new(mount).join(format!("trireme-devices-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        /// Whether a process in it can open a file for reading and writing.
        fn opens(&self, file: &str) -> bool {
            let procs = self.0.join("cgroup.procs");
            let mut command = Command::new("sh");
            command.args(["-c", "exec 3<>$0", file]);
            // SAFETY: writing a file allocates no memory that a thread of the
            // parent may be allocating.
            unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let success = output.status.success();
            assert!(
                success || said.contains("Operation not permitted"),
                "{said}"
            );
            success
        }
    }

    impl Drop for Cgroup {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn the_kernel_decides_by_the_rules_that_were_set_last() {
        let cgroup = Cgroup::make();
        assert!(cgroup.opens("/dev/kmsg") && cgroup.opens("/dev/null"));
        limit(&cgroup.0, &[]).unwrap();
        assert!(!cgroup.opens("/dev/kmsg"));
        assert!(cgroup.opens("/dev/null") && cgroup.opens("/dev/zero"));
        let rules = r#"[{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]"#;
        limit(&cgroup.0, &serde_json::from_str::<Vec<_>>(rules).unwrap()).unwrap();
        assert!(cgroup.opens("/dev/kmsg"));
        limit(&cgroup.0, &[]).unwrap();
        assert!(!cgroup.opens("/dev/kmsg") && cgroup.opens("/dev/null"));
    }

    fn parsed(json: &str) -> Result<Rule, CgroupError> {
        rule(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_a_rule_leaves_out_is_everything() {
        let all = parsed(r#"{"allow": false}"#).unwrap();
        assert_eq!(
            (all.kind, all.major, all.access),
            (Kind::Any, None, Access::ALL)
        );
        let some =
            parsed(r#"{"allow": true, "type": "c", "major": 10, "minor": -1, "access": "rw"}"#);
        let some = some.unwrap();
        assert_eq!((some.major, some.minor), (Some(10), None));
        assert_eq!(some.access, Access::READ.and(Access::WRITE));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for json in [
            r#"{"allow": true, "access": "rx"}"#,
            r#"{"allow": true, "type": "b", "major": 4294967296}"#,
        ] {
            let error = parsed(json).unwrap_err().to_string();
            assert!(error.contains("linux.resources.devices"), "{error}");
        }
    }
}
