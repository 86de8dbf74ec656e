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

impl Maker {
    /// The plan of a guest; or, where none can be given what is asked, one by
    /// which a Linux program is told from a guest.
    pub(super) fn sketch(
        &self,
        spec: &oci::Spec,
        filter: Result<Option<Filter>, ServiceError>,
        request: &api::CreateTaskRequest,
        bundle: &Path,
    ) -> Result<(Sketch, Notices), ServiceError> {
        let rootfs = request
            .rootfs
            .iter()
            .map(|mount| {
                let destination = bundle.join("rootfs");
                let source = PathBuf::from(&mount.source);
                Mount::new(destination, mount.type_.clone(), source, &mount.options)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let input = || Input {
            id: &request.id,
            bundle,
            rootfs: rootfs.clone(),
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
                let sketch = Sketch {
                    plan,
                    filter,
                    refusal,
                };
                Ok((sketch, Notices { ignored, left_out }))
            }
            Err(error) => match Plan::to_look(spec, input()) {
                Ok(plan) => {
                    let sketch = Sketch {
                        plan,
                        filter: filter.unwrap_or_default(),
                        refusal: Some(error.into()),
                    };
                    Ok((sketch, Notices::default()))
                }
                Err(_) => Err(error.into()),
            },
        }
    }
}
