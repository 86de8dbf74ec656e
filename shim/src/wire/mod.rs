//! Everything that is protobuf: the only place that imports it.

pub mod bootstrap;
#[cfg(feature = "server")]
pub(crate) mod containerd;
#[cfg(feature = "server")]
pub mod events;
mod fields;
pub mod options;
#[cfg(feature = "server")]
pub mod pod;
#[cfg(feature = "server")]
pub mod stats;

use std::time::{Duration, SystemTime};

pub use containerd_shim_protos::api;
pub use containerd_shim_protos::protobuf;
#[cfg(feature = "server")]
pub use containerd_shim_protos::{sandbox_api, sandbox_async};
#[cfg(feature = "server")]
use protobuf::Message;
use protobuf::well_known_types::timestamp::Timestamp;
#[cfg(feature = "server")]
use protobuf::well_known_types::{any::Any, wrappers::StringValue};

/// A time as protobuf has it.
pub fn timestamp(at: SystemTime) -> Timestamp {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
        ..Timestamp::default()
    }
}

/// What the runc shim tells of a process that was executed
/// (`api/types/runc/options/oci.proto`, `ProcessDetails`).
#[cfg(feature = "server")]
pub fn process_details(exec_id: &str) -> Any {
    // One string, the first field, in both messages.
    let details = StringValue {
        value: exec_id.to_owned(),
        ..StringValue::default()
    };
    Any {
        type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
        value: details.write_to_bytes().unwrap_or_default(),
        ..Any::default()
    }
}
