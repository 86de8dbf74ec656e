//! `trireme-executor probe`: which engines there are.

use anyhow::Result;
use trireme_core::build_id;
use trireme_core::request::{EngineReport, EngineState, ProbeRequest, SettingReport};
use trireme_engine::{Adapter, Settings};

use crate::engines;

/// Prints a report of every engine as JSON.
pub fn main(request: ProbeRequest) -> Result<u8> {
    let mut reports: Vec<_> = engines::linked_in().into_iter().map(linked_in).collect();
    for (name, plugin) in request.plugins {
        reports.push(EngineReport {
            name,
            origin: plugin.display().to_string(),
            state: EngineState::Missing {
                reason: "this build opens no plugins; only engines that are linked in can be used"
                    .to_owned(),
            },
        });
    }
    println!("{}", serde_json::to_string(&reports)?);
    Ok(0)
}

fn linked_in(adapter: &'static dyn Adapter) -> EngineReport {
    EngineReport {
        name: adapter.info().name.to_owned(),
        origin: "linked in".to_owned(),
        state: state(adapter),
    }
}

/// An engine that does not start with its own defaults is not there.
fn state(adapter: &'static dyn Adapter) -> EngineState {
    let info = adapter.info();
    let created = Settings::check(info.settings, &Default::default())
        .map_err(|error| error.to_string())
        .and_then(|settings| {
            adapter
                .create(&settings, &Default::default())
                .map_err(|error| error.to_string())
        });
    let build = build_id::of_file("/proc/self/exe".as_ref()).map_err(|error| error.to_string());
    match (created, build) {
        (Ok(_), Ok(build)) => EngineState::Ready {
            version: info.version.to_owned(),
            kinds: info.kinds.to_vec(),
            wasi: info.wasi.iter().map(ToString::to_string).collect(),
            limits: info.limits.iter().map(ToString::to_string).collect(),
            settings: info
                .settings
                .iter()
                .map(|setting| SettingReport {
                    key: setting.key.to_owned(),
                    kind: setting.kind.to_string(),
                    default: setting.default.to_owned(),
                    doc: setting.doc.to_owned(),
                })
                .collect(),
            build,
        },
        (Err(reason), _) | (_, Err(reason)) => EngineState::Missing { reason },
    }
}
