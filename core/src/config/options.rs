//! The options that a runtime entry of containerd carries.
//!
//! containerd's CRI plugin sends the entry's whole `options` table as TOML in
//! `runtimeoptions.v1.Options.config_body`, unless the table names a
//! `ConfigPath`; then it sends that path (`GenerateRuntimeOptions` in
//! `internal/cri/config/config.go`).

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::ConfigError;

/// What the options of a runtime entry say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// The handler, or `None` for the one in the program's own name.
    pub handler: Option<String>,
    /// Whether cgroups are made through systemd.
    pub systemd_cgroup: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    handler: Option<String>,
    #[serde(rename = "SystemdCgroup", default, deserialize_with = "truth")]
    systemd_cgroup: bool,
    /// containerd leaves its own keys in the table that it passes on.
    #[serde(rename = "TypeUrl", default)]
    _type_url: Option<String>,
    #[serde(rename = "ConfigPath", default)]
    _config_path: Option<String>,
}

impl RuntimeOptions {
    /// Reads the TOML of `config_body`, or of the file that `ConfigPath`
    /// names; `source` is named in messages.
    ///
    /// # Errors
    ///
    /// For text that is not TOML, an unknown key and a bad value.
    pub fn parse(text: &str, source: &Path) -> Result<Self, ConfigError> {
        let body: Body =
            toml::from_str(text).map_err(|e| ConfigError::invalid(source, text, &e))?;
        Ok(RuntimeOptions {
            handler: body.handler,
            systemd_cgroup: body.systemd_cgroup,
        })
    }
}

/// A truth value, also as the string that some installers write.
fn truth<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    struct Truth;
    impl Visitor<'_> for Truth {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
            value
                .parse()
                .map_err(|_| E::invalid_value(Unexpected::Str(value), &self))
        }
    }
    d.deserialize_any(Truth)
}
