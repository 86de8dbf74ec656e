//! What a pod adds to the specifications of its containers: files that CRI
//! bind-mounts where a pause container has made them, and leaves to the shim
//! where it has not.

use std::path::Path;
use std::sync::Arc;

use trireme_core::spec::{self, oci};

use super::Sandbox;
use crate::server::create::Maker;
use crate::server::error::ServiceError;

/// What every container of a pod gets, unless its specification has it.
const FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
const SHM: &str = "/dev/shm";

impl Maker {
    /// Whether the container's pod, made by this server, adds to its specification.
    pub(in crate::server) fn is_furnished(&self, spec: &oci::Spec, id: &str) -> bool {
        self.sandbox_of(spec, id).is_some()
    }

    fn sandbox_of(&self, spec: &oci::Spec, id: &str) -> Option<Arc<Sandbox>> {
        let group = spec.annotations().as_ref().map(|all| spec::group(all, id));
        self.sandboxes.find(group.unwrap_or(id))
    }

    /// The specification of a container, with what its pod adds to it.
    pub(in crate::server) fn specification(
        &self,
        bundle: &Path,
        id: &str,
    ) -> Result<oci::Spec, ServiceError> {
        let mut spec = spec::read(bundle)?;
        if let Some(sandbox) = self.sandbox_of(&spec, id) {
            sandbox.furnish(&mut spec);
        }
        Ok(spec)
    }
}

impl Sandbox {
    /// Completes the specification of a container of this pod.
    fn furnish(&self, spec: &mut oci::Spec) {
        let is_read_only = spec
            .root()
            .as_ref()
            .and_then(|root| root.readonly())
            .unwrap_or_default();
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        let give = |mounts: &mut Vec<oci::Mount>, destination: &str, options: &[&str]| {
            if let Some(source) = self.files.of(Path::new(destination)) {
                let mut mount = oci::Mount::default();
                mount
                    .set_destination(destination.into())
                    .set_typ(Some("bind".into()))
                    .set_source(Some(source))
                    .set_options(Some(options.iter().map(|&word| word.into()).collect()));
                mounts.push(mount);
            }
        };
        let access = if is_read_only { "ro" } else { "rw" };
        for destination in FILES {
            if !has(&mounts, destination) {
                give(&mut mounts, destination, &["rbind", "rprivate", access]);
            }
        }
        // The default of a specification is memory of the container's own.
        let is_own = |mount: &oci::Mount| {
            mount.destination() == Path::new(SHM) && mount.typ().as_deref() == Some("tmpfs")
        };
        if self.files.of(Path::new(SHM)).is_some() {
            mounts.retain(|mount| !is_own(mount));
            if !has(&mounts, SHM) {
                let options = ["rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"];
                give(&mut mounts, SHM, &options);
            }
        }
        spec.set_mounts(Some(mounts));
    }
}

fn has(mounts: &[oci::Mount], destination: &str) -> bool {
    mounts
        .iter()
        .any(|mount| mount.destination() == Path::new(destination))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use trireme_container::pod::{Files, Resolver};

    use super::super::{Request, Sandbox};
    use super::*;

    fn spec(mounts: &str) -> oci::Spec {
        let text = format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "r", "readonly": true}}, "mounts": [{mounts}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn sandbox(dir: &Path) -> Sandbox {
        let request = Request {
            id: "pod".into(),
            bundle: dir.into(),
            network: None,
            config: Default::default(),
        };
        let sandbox = Sandbox::new(dir, "k8s.io", request).unwrap();
        let files = Files::at(sandbox.state_dir.path());
        files.make("name", &Resolver::Node, false).unwrap();
        std::fs::create_dir(sandbox.state_dir.path().join("shm")).unwrap();
        sandbox
    }

    fn source(spec: &oci::Spec, destination: &str) -> Option<PathBuf> {
        let mounts = spec.mounts().as_ref().unwrap();
        let mut found = mounts
            .iter()
            .filter(|mount| mount.destination() == Path::new(destination));
        let source = found.next()?.source().clone();
        assert!(found.next().is_none(), "twice: {destination}");
        source
    }

    #[test]
    fn a_container_gets_the_files_of_its_pod() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = sandbox(dir.path());
        let mut spec = spec(r#"{"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}"#);
        sandbox.furnish(&mut spec);
        for (destination, name) in [
            ("/etc/hostname", "hostname"),
            ("/etc/hosts", "hosts"),
            ("/etc/resolv.conf", "resolv.conf"),
            ("/dev/shm", "shm"),
        ] {
            let expected = sandbox.state_dir.path().join(name);
            assert_eq!(source(&spec, destination), Some(expected));
        }
        let mounts = spec.mounts().as_ref().unwrap();
        let options = mounts[0].options().as_ref().unwrap();
        assert!(options.contains(&"ro".to_owned()), "{options:?}");
    }

    #[test]
    fn what_the_specification_has_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec(
            r#"{"destination": "/etc/hosts", "type": "bind", "source": "/kubelet/hosts"},
               {"destination": "/dev/shm", "type": "bind", "source": "/dev/shm"}"#,
        );
        sandbox(dir.path()).furnish(&mut spec);
        assert_eq!(source(&spec, "/etc/hosts"), Some("/kubelet/hosts".into()));
        assert_eq!(source(&spec, "/dev/shm"), Some("/dev/shm".into()));
    }
}
