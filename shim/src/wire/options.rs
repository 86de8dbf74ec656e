//! Runtime options, which reach a shim in one of several messages.

use protobuf::CodedInputStream;
use protobuf::rt::WireType;
use protobuf::well_known_types::any::Any;

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
        name if GENERIC.contains(&name) => {
            each_field(&any.value, |field, value| match (field, value) {
                (2, Value::Text(text)) => {
                    options.config_path = Some(text).filter(|t| !t.is_empty())
                }
                (3, Value::Text(text)) => {
                    options.config_body = Some(text).filter(|t| !t.is_empty())
                }
                _ => {}
            })?
        }
        RUNC => each_field(&any.value, |field, value| {
            if let (9, Value::Number(on)) = (field, value) {
                options.systemd_cgroup = on != 0;
            }
        })?,
        name => return Err(OptionsError::Type(name.to_owned())),
    }
    Ok(options)
}

enum Value {
    Number(u64),
    Text(String),
}

fn each_field(bytes: &[u8], mut field: impl FnMut(u32, Value)) -> Result<(), protobuf::Error> {
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        let (number, wire) = (tag >> 3, tag & 7);
        match wire {
            0 => field(number, Value::Number(input.read_raw_varint64()?)),
            2 => {
                let bytes = input.read_bytes()?;
                field(
                    number,
                    Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
                );
            }
            5 => input.skip_field(WireType::Fixed32)?,
            _ => input.skip_field(WireType::Fixed64)?,
        }
    }
    Ok(())
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
