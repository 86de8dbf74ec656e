//! The system call filters of containers, each made once for all that have its profile.

use std::path::Path;
use std::sync::OnceLock;

use trireme_container::filter::Filter;
use trireme_core::build_id;
use trireme_core::shelf::Shelf;
use trireme_core::spec::oci;

use super::aside::aside;
use super::error::ServiceError;

/// How many are kept, of some kilobytes each. A host has few profiles: that of containerd or
/// Docker, and those of an administrator.
const MAX_KNOWN: usize = 64;

/// The filters that servers have made since boot.
pub struct Filters {
    shelf: Shelf,
    /// What makes them; without, none is kept.
    build: OnceLock<Option<String>>,
    /// Held by the one that makes a filter: those who want the same at a time wait for it.
    making: tokio::sync::Mutex<()>,
}

impl Filters {
    /// Those of this host, below its run directory.
    pub fn new(run: &Path) -> Self {
        Filters {
            shelf: Shelf::new(run, "filters", MAX_KNOWN),
            build: OnceLock::new(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// The filter of a specification, if that has a profile.
    ///
    /// # Errors
    ///
    /// When the profile asks for what a container cannot be given.
    pub async fn of(&self, spec: &oci::Spec) -> Result<Option<Filter>, ServiceError> {
        let linux = spec.linux().as_ref();
        let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) else {
            return Ok(None);
        };
        let text = serde_json::to_vec(profile)
            .map_err(|error| ServiceError::Setup(format!("linux.seccomp: {error}")))?;
        let subject = self.build().map(|build| [build.as_bytes(), &text]);
        let known = || {
            let known = self.shelf.find(&subject?)?;
            serde_json::from_slice(&known).ok()
        };
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        let _making = self.making.lock().await;
        if let Some(known) = known() {
            return Ok(Some(known));
        }
        let profile = profile.clone();
        let filter = aside(move || Filter::of(&profile)).await?;
        if let (Some(subject), Ok(known)) = (subject, serde_json::to_vec(&filter)) {
            // It is made again where that fails.
            let _ = self.shelf.keep(&subject, &known);
        }
        Ok(Some(filter))
    }

    /// The build of this server, which holds libseccomp: another may make another filter.
    fn build(&self) -> Option<&str> {
        let own = || build_id::of_file(Path::new("/proc/self/exe")).ok();
        self.build.get_or_init(own).as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn spec(action: &str, calls: &[&str]) -> oci::Spec {
        let rule = json!({ "names": calls, "action": action });
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        let linux = json!({ "seccomp": profile });
        serde_json::from_value(json!({ "ociVersion": "1.0.2", "linux": linux })).unwrap()
    }

    #[tokio::test]
    async fn each_profile_has_its_own_filter() {
        let run = tempfile::tempdir().unwrap();
        let mut made = Vec::new();
        for calls in [&["mkdir"], &["rmdir"]] {
            let spec = spec("SCMP_ACT_ERRNO", calls);
            let filter = Filters::new(run.path()).of(&spec).await.unwrap().unwrap();
            // By another server, and by one that keeps nothing.
            let again = Filters::new(run.path()).of(&spec).await.unwrap().unwrap();
            let nowhere = Filters::new(Path::new("/proc/none"));
            assert_eq!(filter, again);
            assert_eq!(nowhere.of(&spec).await.unwrap(), Some(again));
            made.push(filter);
        }
        assert_ne!(made[0], made[1]);
        assert_eq!(fs::read_dir(run.path().join("filters")).unwrap().count(), 2);
        let none = oci::Spec::default();
        assert_eq!(Filters::new(run.path()).of(&none).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_damaged_is_made_again() {
        let run = tempfile::tempdir().unwrap();
        let filters = Filters::new(run.path());
        let spec = spec("SCMP_ACT_ERRNO", &["mkdir"]);
        let filter = filters.of(&spec).await.unwrap();
        let file = fs::read_dir(run.path().join("filters")).unwrap().next();
        let file = file.unwrap().unwrap().path();
        let whole = fs::read(&file).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{}"] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(filters.of(&spec).await.unwrap(), filter);
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_not_kept() {
        let run = tempfile::tempdir().unwrap();
        let notify = spec("SCMP_ACT_NOTIFY", &["mkdir"]);
        let refused = Filters::new(run.path()).of(&notify).await;
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("SCMP_ACT_NOTIFY"), "{message}");
        assert!(!run.path().join("filters").exists());
    }
}
