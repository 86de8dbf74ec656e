//! Limits as values in a controller's files.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use trireme_core::spec::oci::LinuxResources;

use super::{Cgroup, CgroupError, Version, v1, v2};
use crate::{Doing, SysError};

/// Files of v1 whose value may depend on that of another which is written later.
const FIRST: [&str; 2] = ["memory.limit_in_bytes", "cpu.cfs_period_us"];

impl Cgroup {
    pub(super) fn set_limits(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let writes = match self.version {
            Version::V1 => v1::writes(resources)?,
            Version::V2 => v2::writes(resources)?,
        };
        // On v1 a limit on memory may not pass the one on memory and swap
        // together, so which of the two goes first depends on whether they grow
        // or shrink; and neither a quota nor its period may pass the share of the
        // cgroup above. What is refused is tried again after the others.
        let mut again = Vec::new();
        let mut last = None;
        for write in &writes {
            match self.write(write, &mut last) {
                Err(CgroupError::Sys(_)) if FIRST.contains(&write.file.as_str()) => {
                    again.push(write);
                }
                Err(CgroupError::Sys(error)) if write.is_met_without_swap(&error) => {}
                other => other?,
            }
        }
        again
            .into_iter()
            .try_for_each(|write| self.write(write, &mut last))
    }

    /// Writes one limit. The file stays open for the next: there may be a dozen of devices.
    pub(super) fn write(
        &self,
        write: &Write,
        last: &mut Option<(PathBuf, fs::File)>,
    ) -> Result<(), CgroupError> {
        let folder = self
            .controller(write.controller)
            .ok_or(CgroupError::NoController {
                what: write.what,
                controller: write.controller,
            })?;
        let path = folder.join(&write.file);
        let what = || {
            let Write { what, value, .. } = write;
            format!(
                "set linux.resources.{what}: write {value} to {}",
                path.display()
            )
        };
        let mut file = match last.take() {
            Some((open, file)) if open == path => file,
            // Where there is no such file, none can be made.
            _ => fs::OpenOptions::new().write(true).open(&path).doing(what)?,
        };
        // In one piece: the kernel takes each write for a value of its own.
        file.write_all(write.value.as_bytes()).doing(what)?;
        *last = Some((path, file));
        Ok(())
    }
}

/// A value that this host or this version of cgroups has no place for.
pub(super) fn unsupported(what: &'static str, reason: &str) -> CgroupError {
    CgroupError::Invalid {
        what,
        reason: reason.to_owned(),
    }
}

/// One value to write to a controller's file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub controller: &'static str,
    pub file: String,
    pub value: String,
    /// The part of the specification it comes from, for messages.
    pub what: &'static str,
}

impl Write {
    /// Whether this is what a kernel without swap does anyway, which has no file for it. So it is to
    /// runc; and the kubelet gives every container with a limit on memory no swap.
    fn is_met_without_swap(&self, error: &SysError) -> bool {
        self.file == "memory.swap.max"
            && matches!(self.value.as_str(), "0" | "max")
            && error.source.kind() == ErrorKind::NotFound
    }
}

/// Values to write, in this order.
#[derive(Default)]
pub(super) struct Writes(pub Vec<Write>);

impl Writes {
    pub fn set(&mut self, controller: &'static str, file: &str, value: String, what: &'static str) {
        self.0.push(Write {
            controller,
            file: file.to_owned(),
            value,
            what,
        });
    }
}
