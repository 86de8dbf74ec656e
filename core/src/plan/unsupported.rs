//! What of the specification a Wasm container does not honour: refused where
//! leaving it out would weaken isolation or change what the user asked for,
//! reported where it has no meaning for a Wasm guest.

use super::PlanError;
use crate::spec::oci;

/// Refuses what cannot be left out.
pub(super) fn refuse(spec: &oci::Spec) -> Result<(), PlanError> {
    let mut reasons = Vec::new();
    if let Some(hooks) = spec.hooks() {
        for (name, list) in [
            ("createContainer", hooks.create_container()),
            ("startContainer", hooks.start_container()),
        ] {
            if list.as_ref().is_some_and(|list| !list.is_empty()) {
                reasons.push(format!(
                    "hook {name} runs inside the container, where a Wasm guest allows no native \
                     program; use createRuntime or poststart"
                ));
            }
        }
    }
    if let Some(linux) = spec.linux() {
        let mapped = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if mapped(linux.uid_mappings()) || mapped(linux.gid_mappings()) {
            reasons.push("user id mappings are not supported for Wasm containers".into());
        }
        if linux
            .time_offsets()
            .as_ref()
            .is_some_and(|offsets| !offsets.is_empty())
        {
            reasons.push("time offsets are not supported for Wasm containers".into());
        }
        if linux
            .net_devices()
            .as_ref()
            .is_some_and(|devices| !devices.is_empty())
        {
            reasons.push("network devices cannot be moved into Wasm containers".into());
        }
        if linux.intel_rdt().is_some() {
            reasons.push("linux.intelRdt is not supported for Wasm containers".into());
        }
        if linux.memory_policy().is_some() {
            reasons.push("linux.memoryPolicy is not supported for Wasm containers".into());
        }
    }
    match reasons.into_iter().next() {
        Some(reason) => Err(PlanError::Unsupported(reason)),
        None => Ok(()),
    }
}

/// Reports what has no meaning for a Wasm guest, a line each.
pub(super) fn ignored(spec: &oci::Spec) -> Vec<String> {
    let mut notices = Vec::new();
    let mut ignored = |what: &str, why: &str| notices.push(format!("{what} ignored: {why}"));
    if let Some(process) = spec.process() {
        let named = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
        if named(process.apparmor_profile()) {
            ignored(
                "process.apparmorProfile",
                "profiles attach at exec, and a guest is not exec'd",
            );
        }
        if named(process.selinux_label()) {
            ignored(
                "process.selinuxLabel",
                "labels attach at exec, and a guest is not exec'd",
            );
        }
        if process.scheduler().is_some() {
            ignored("process.scheduler", "not supported");
        }
        if process.io_priority().is_some() {
            ignored("process.ioPriority", "not supported");
        }
        if process.exec_cpu_affinity().is_some() {
            ignored("process.execCPUAffinity", "not supported");
        }
        if let Some(capabilities) = process.capabilities()
            && capabilities
                .ambient()
                .as_ref()
                .is_some_and(|set| !set.is_empty())
        {
            ignored(
                "process.capabilities.ambient",
                "a Wasm guest has no capabilities",
            );
        }
    }
    if let Some(linux) = spec.linux() {
        if linux
            .devices()
            .as_ref()
            .is_some_and(|devices| !devices.is_empty())
        {
            ignored("linux.devices", "a Wasm guest gets no device files");
        }
        if linux
            .mount_label()
            .as_ref()
            .is_some_and(|label| !label.is_empty())
        {
            ignored("linux.mountLabel", "not supported");
        }
        if linux.personality().is_some() {
            ignored(
                "linux.personality",
                "a Wasm guest makes no system calls of its own",
            );
        }
    }
    notices
}
