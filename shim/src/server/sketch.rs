//! What a container is to be, by its specification and its Create, before there is any of it.

use std::path::{Path, PathBuf};

use trireme_container::filter::Filter;
use trireme_core::plan::{Input, Mount, Plan, Planned};
use trireme_core::spec::oci;

use super::create::Maker;
use super::error::ServiceError;
use super::log::TaskLog;
use crate::wire::api;

/// What is known of a container before there is any of it.
pub(super) struct Sketch {
    pub plan: Plan,
    /// The system call filter.
    pub filter: Option<Filter>,
    /// Why no guest can be given what the specification asks.
    pub refusal: Option<ServiceError>,
    pub notices: Notices,
}

/// What of the specification a guest is not given.
#[derive(Default)]
pub(super) struct Notices {
    ignored: Vec<String>,
    left_out: Vec<String>,
}

impl Notices {
    pub fn log(&self, log: &TaskLog) {
        self.ignored.iter().for_each(|notice| log.warn(notice));
        self.left_out.iter().for_each(|notice| log.debug(notice));
    }
}

impl Sketch {
    /// With the root file system that a Create tells.
    pub fn with_root(mut self, request: &api::CreateTaskRequest) -> Result<Self, ServiceError> {
        let bundle = Path::new(&request.bundle);
        let mounts = request.rootfs.iter().map(|mount| {
            let destination = bundle.join("rootfs");
            let source = PathBuf::from(&mount.source);
            Mount::new(destination, mount.type_.clone(), source, &mount.options)
        });
        self.plan.root.mounts = mounts.collect::<Result<_, _>>()?;
        Ok(self)
    }
}

impl Maker {
    /// The plan of a guest; or, where none can be given what is asked, one by
    /// which a Linux program is told from a guest. What its root file system is made of is not in
    /// it yet.
    pub(super) fn sketch(
        &self,
        spec: &oci::Spec,
        filter: Result<Option<Filter>, ServiceError>,
        id: &str,
        bundle: &Path,
    ) -> Result<Sketch, ServiceError> {
        let input = || Input {
            id,
            bundle,
            rootfs: Vec::new(),
            engine: self.order.engine.clone(),
            network: self.has_network(),
        };
        match Plan::from_spec(spec, input()) {
            Ok(Planned {
                plan,
                ignored,
                left_out,
            }) => {
                let (filter, refusal) = match filter {
                    Ok(filter) => (filter, None),
                    // A Linux program may be given it by libcontainer.
                    Err(error) => (None, Some(error)),
                };
                Ok(Sketch {
                    plan,
                    filter,
                    refusal,
                    notices: Notices { ignored, left_out },
                })
            }
            Err(error) => match Plan::to_look(spec, input()) {
                Ok(plan) => Ok(Sketch {
                    plan,
                    filter: filter.unwrap_or_default(),
                    refusal: Some(error.into()),
                    notices: Notices::default(),
                }),
                Err(_) => Err(error.into()),
            },
        }
    }
}
