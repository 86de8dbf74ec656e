//! Runtime options, which reach a shim in one of several messages.

use protobuf::well_known_types::any::Any;

use super::fields;
use super::protobuf;

/// What the options of a task say, whichever message they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The configuration file to read (`config_path`).
    pub config_path: Option<String>,
    /// The runtime entry's own table in TOML (`config_body`).
    pub config_body: Option<String>,
    /// Whether systemd keeps the cgroups.
    pub systemd_cgroup: bool,
}

/// The options cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A type that this shim does not know.
    #[error(
        "runtime options of type \"{0}\" are not supported; use runtimeoptions.v1.Options or none"
    )]
    Type(String),
    /// Damaged bytes.
    #[error("runtime options: {0}")]
    Damaged(#[from] protobuf::Error),
}

/// `runtimeoptions.v1.Options`, which CRI makes for a runtime it does not know
/// (containerd `api/types/runtimeoptions/v1`).
const GENERIC: &[&str] = &[
    "runtimeoptions.v1.Options",
    "containerd.runtimeoptions.v1.Options",
];
/// The options of the runc shim, which Docker sends for a runtime given by path.
const RUNC: &str = "containerd.runc.v1.Options";

fn type_name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

/// Whether the message is one of runtime options.
pub fn is_options(any: &Any) -> bool {
    let name = type_name(any);
    GENERIC.contains(&name) || name == RUNC
}

/// Reads the options of a task.
///
/// # Errors
///
/// For an unknown type and damaged bytes.
pub fn parse(any: &Any) -> Result<Options, OptionsError> {
    let mut options = Options::default();
    match type_name(any) {
        "" if any.value.is_empty() => {}
        name if GENERIC.contains(&name) => fields::each(&any.value, |field, value| match field {
            2 => options.config_path = Some(value.text()).filter(|text| !text.is_empty()),
            3 => options.config_body = Some(value.text()).filter(|text| !text.is_empty()),
            _ => {}
        })?,
        RUNC => fields::each(&any.value, |field, value| {
            if let (9, fields::Value::Number(on)) = (field, value) {
                options.systemd_cgroup = on != 0;
            }
        })?,
        name => return Err(OptionsError::Type(name.to_owned())),
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(name: &str, value: &[u8]) -> Any {
        Any {
            type_url: name.into(),
            value: value.to_vec(),
            ..Any::default()
        }
    }

    #[test]
    fn generic_options_carry_a_path_and_a_body() {
        let value = [&[0x12, 2][..], b"/c", &[0x1a, 3], b"a=1"].concat();
        let options = parse(&any("runtimeoptions.v1.Options", &value)).unwrap();
        assert_eq!(options.config_path.as_deref(), Some("/c"));
        assert_eq!(options.config_body.as_deref(), Some("a=1"));
    }

    #[test]
    fn the_options_of_runc_say_who_keeps_the_cgroups() {
        let options = parse(&any("containerd.runc.v1.Options", &[0x48, 1])).unwrap();
        assert!(options.systemd_cgroup);
    }

    #[test]
    fn other_types_and_damage_are_refused() {
        assert!(
            parse(&any("x.Y", &[]))
                .unwrap_err()
                .to_string()
                .contains("x.Y")
        );
        assert!(parse(&any("runtimeoptions.v1.Options", &[0x12, 200])).is_err());
    }
}
