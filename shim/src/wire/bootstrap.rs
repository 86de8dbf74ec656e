//! What containerd writes to the standard input of `start`, and the reply in
//! the form that it takes.
//!
//! Until 2.2 the input is the task's options as a bare `Any`, or nothing, and
//! the reply is an address in text: the plain form, which stands for version 2
//! of the task API, is the one that 1.6 to 2.2 all take. Since 2.3 the input
//! is `BootstrapParams` and the reply `BootstrapResult`
//! (containerd `api/runtime/bootstrap/v1`, `core/runtime/v2/shim.go`).

use std::path::PathBuf;

use containerd_shim_protos::TASK_API_VERSION;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

use super::protobuf;

/// The input of `start`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// The task's runtime options.
    pub options: Option<Any>,
    /// Where containerd wants the socket.
    pub socket_dir: Option<PathBuf>,
    /// Where containerd takes events.
    pub ttrpc_address: Option<String>,
    /// Whether the reply has to be a `BootstrapResult`.
    pub structured: bool,
}

/// The input is neither form.
#[derive(Debug, thiserror::Error)]
#[error("standard input is neither runtime options nor bootstrap parameters: {0}")]
pub struct InputError(protobuf::Error);

/// Reads the input of `start` for the task that the flags name.
///
/// `Any` and `BootstrapParams` both begin with two texts; it is the second
/// form if these are the id and the namespace of the flags.
///
/// # Errors
///
/// When the bytes are neither.
pub fn parse(bytes: &[u8], id: &str, namespace: &str) -> Result<Input, InputError> {
    if bytes.is_empty() {
        return Ok(Input::default());
    }
    if let Ok(params) = BootstrapParams::parse_from_bytes(bytes)
        && params.instance_id == id
        && params.namespace == namespace
    {
        return Ok(Input {
            options: params
                .extensions
                .into_iter()
                .filter_map(|extension| extension.value.into_option())
                .find(super::options::is_options),
            socket_dir: params
                .socket_dir
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from),
            ttrpc_address: Some(params.containerd_ttrpc_address).filter(|a| !a.is_empty()),
            structured: true,
        });
    }
    let options = Any::parse_from_bytes(bytes).map_err(InputError)?;
    Ok(Input {
        options: Some(options),
        ..Input::default()
    })
}

/// The reply: the address of the server in the form that the input calls for.
pub fn reply(address: &str, structured: bool) -> Vec<u8> {
    if !structured {
        return address.as_bytes().to_vec();
    }
    BootstrapResult {
        version: TASK_API_VERSION,
        address: address.to_owned(),
        protocol: "ttrpc".to_owned(),
        ..BootstrapResult::default()
    }
    .write_to_bytes()
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_bare_options_are_answered_in_text() {
        assert_eq!(parse(b"", "one", "default").unwrap(), Input::default());
        let any = Any {
            type_url: "runtimeoptions.v1.Options".into(),
            ..Any::default()
        };
        let bytes = any.write_to_bytes().unwrap();
        let input = parse(&bytes, "one", "default").unwrap();
        assert_eq!(input.options, Some(any));
        assert_eq!(reply("unix:///s", input.structured), b"unix:///s");
    }

    #[test]
    fn parameters_are_known_by_id_and_namespace() {
        let params = BootstrapParams {
            instance_id: "one".into(),
            namespace: "default".into(),
            socket_dir: Some("/run/elsewhere".into()),
            ..BootstrapParams::default()
        };
        let bytes = params.write_to_bytes().unwrap();
        let input = parse(&bytes, "one", "default").unwrap();
        assert_eq!(input.socket_dir, Some(PathBuf::from("/run/elsewhere")));
        let result =
            BootstrapResult::parse_from_bytes(&reply("unix:///s", input.structured)).unwrap();
        assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    }

    #[test]
    fn noise_is_an_error() {
        assert!(parse(&[0xff, 0xff, 0xff], "one", "default").is_err());
    }
}
