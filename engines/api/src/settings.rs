//! Settings that an engine declares, and limits that the host sets.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A setting that an engine takes: a flat key with a type, a default and a
/// line of documentation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The key as it stands in configuration.
    pub key: &'static str,
    /// The type of its value.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// The value where configuration gives none, in configuration's syntax
    /// without quotes.
    pub default: &'static str,
    /// One line on what it does.
    pub doc: &'static str,
}

/// The type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingType {
    /// `true` or `false`.
    Bool,
    /// A whole number of at least 0.
    Integer,
    /// One of the listed words.
    Choice(&'static [&'static str]),
}

impl fmt::Display for SettingType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingType::Bool => f.write_str("true or false"),
            SettingType::Integer => f.write_str("a whole number"),
            SettingType::Choice(words) => {
                for (i, word) in words.iter().enumerate() {
                    if i > 0 {
                        f.write_str(if i + 1 == words.len() { " or " } else { ", " })?;
                    }
                    write!(f, "\"{word}\"")?;
                }
                Ok(())
            }
        }
    }
}

/// A value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SettingValue {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(u64),
    /// A word.
    Text(String),
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingValue::Bool(v) => write!(f, "{v}"),
            SettingValue::Integer(v) => write!(f, "{v}"),
            SettingValue::Text(v) => write!(f, "\"{v}\""),
        }
    }
}

/// Why given settings do not fit an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The engine has no such setting.
    #[error("no setting \"{key}\"; there are: {known}")]
    Unknown {
        /// The key that was given.
        key: String,
        /// The keys there are.
        known: String,
    },
    /// The value is not of the setting's type.
    #[error("setting \"{key}\" takes {expected}, not {value}")]
    Type {
        /// The key.
        key: String,
        /// What it takes.
        expected: String,
        /// What was given.
        value: String,
    },
}

/// Settings checked against an engine's declaration: every declared key is
/// there, with a value of its type, and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings(BTreeMap<String, SettingValue>);

impl Settings {
    /// Checks `given` against `declared` and fills in the defaults.
    ///
    /// # Errors
    ///
    /// For a key that is not declared and a value of another type.
    pub fn check(
        declared: &[Setting],
        given: &BTreeMap<String, SettingValue>,
    ) -> Result<Self, SettingsError> {
        if let Some(key) = given.keys().find(|k| declared.iter().all(|s| s.key != **k)) {
            let known: Vec<_> = declared.iter().map(|s| s.key).collect();
            return Err(SettingsError::Unknown {
                key: key.clone(),
                known: if known.is_empty() {
                    "none".into()
                } else {
                    known.join(", ")
                },
            });
        }
        declared
            .iter()
            .map(|setting| {
                let value = match given.get(setting.key) {
                    Some(value) => checked(setting, value)?,
                    None => setting.default_value(),
                };
                Ok((setting.key.to_owned(), value))
            })
            .collect::<Result<_, _>>()
            .map(Settings)
    }

    /// The truth value of a declared `Bool` setting.
    ///
    /// # Panics
    ///
    /// If the engine declared no such setting: a fault of its adapter.
    pub fn bool(&self, key: &str) -> bool {
        match self.0.get(key) {
            Some(SettingValue::Bool(v)) => *v,
            other => panic!("setting {key} is not a declared truth value: {other:?}"),
        }
    }

    /// The number of a declared `Integer` setting.
    ///
    /// # Panics
    ///
    /// If the engine declared no such setting: a fault of its adapter.
    pub fn integer(&self, key: &str) -> u64 {
        match self.0.get(key) {
            Some(SettingValue::Integer(v)) => *v,
            other => panic!("setting {key} is not a declared number: {other:?}"),
        }
    }

    /// The word of a declared `Choice` setting.
    ///
    /// # Panics
    ///
    /// If the engine declared no such setting: a fault of its adapter.
    pub fn choice(&self, key: &str) -> &str {
        match self.0.get(key) {
            Some(SettingValue::Text(v)) => v,
            other => panic!("setting {key} is not a declared word: {other:?}"),
        }
    }

    /// One line a setting, sorted by key: the same text for the same settings,
    /// made for cache keys.
    pub fn canonical(&self) -> String {
        self.0.iter().map(|(k, v)| format!("{k}={v}\n")).collect()
    }
}

fn checked(setting: &Setting, value: &SettingValue) -> Result<SettingValue, SettingsError> {
    let fits = match (setting.kind, value) {
        (SettingType::Bool, SettingValue::Bool(_))
        | (SettingType::Integer, SettingValue::Integer(_)) => true,
        (SettingType::Choice(words), SettingValue::Text(word)) => words.contains(&word.as_str()),
        _ => false,
    };
    if fits {
        return Ok(value.clone());
    }
    Err(SettingsError::Type {
        key: setting.key.into(),
        expected: setting.kind.to_string(),
        value: value.to_string(),
    })
}

impl Setting {
    /// The default as a value.
    ///
    /// # Panics
    ///
    /// If the declared default is not of the declared type; the adapter suite
    /// checks every setting of an engine.
    pub fn default_value(&self) -> SettingValue {
        let value = match self.kind {
            SettingType::Bool => self.default.parse().ok().map(SettingValue::Bool),
            SettingType::Integer => self.default.parse().ok().map(SettingValue::Integer),
            SettingType::Choice(words) => words
                .contains(&self.default)
                .then(|| SettingValue::Text(self.default.into())),
        };
        value.unwrap_or_else(|| panic!("the default of setting {} is not {}", self.key, self.kind))
    }
}

/// A limit that the host sets on every guest of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Bytes of each linear memory.
    Memory,
    /// Elements of each table.
    Table,
    /// Bytes of the stack that WebAssembly code uses.
    Stack,
    /// Units of work, the engine's own measure.
    Fuel,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Memory => "memory",
            Limit::Table => "table",
            Limit::Stack => "stack",
            Limit::Fuel => "fuel",
        })
    }
}

/// The limits of a handler. `None` is the engine's own default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of each linear memory; growth beyond it fails as the
    /// specification says (`memory.grow` returns -1).
    pub memory: Option<u64>,
    /// Elements of each table.
    pub table: Option<u64>,
    /// Bytes of the stack that WebAssembly code uses; beyond it the guest
    /// traps.
    pub stack: Option<u64>,
    /// Units of work, the engine's own measure; used up, the guest ends with
    /// [`Outcome::Limit`](crate::Outcome::Limit).
    pub fuel: Option<u64>,
}

impl Limits {
    /// The limits that are set.
    pub fn set(&self) -> impl Iterator<Item = (Limit, u64)> {
        [
            (Limit::Memory, self.memory),
            (Limit::Table, self.table),
            (Limit::Stack, self.stack),
            (Limit::Fuel, self.fuel),
        ]
        .into_iter()
        .filter_map(|(limit, value)| Some((limit, value?)))
    }

    /// What of the limits shapes the compiled code, as text for cache keys.
    ///
    /// Fuel is counted by code that the compiler inserts; stack and memory
    /// limits hold at run time but decide whether bounds checks are needed.
    pub fn canonical(&self) -> String {
        self.set()
            .map(|(limit, value)| format!("limit.{limit}={value}\n"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &[Setting] = &[
        Setting {
            key: "fast",
            kind: SettingType::Bool,
            default: "true",
            doc: "",
        },
        Setting {
            key: "tier",
            kind: SettingType::Choice(&["a", "b"]),
            default: "b",
            doc: "",
        },
        Setting {
            key: "size",
            kind: SettingType::Integer,
            default: "4",
            doc: "",
        },
    ];

    fn given(key: &str, value: SettingValue) -> BTreeMap<String, SettingValue> {
        BTreeMap::from([(key.to_owned(), value)])
    }

    #[test]
    fn defaults_fill_what_is_not_given() {
        let settings = Settings::check(DECLARED, &given("size", SettingValue::Integer(9))).unwrap();
        assert!(settings.bool("fast"));
        assert_eq!(settings.choice("tier"), "b");
        assert_eq!(settings.integer("size"), 9);
        assert_eq!(settings.canonical(), "fast=true\nsize=9\ntier=\"b\"\n");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_known_ones() {
        let error = Settings::check(DECLARED, &given("speed", SettingValue::Bool(true)));
        assert_eq!(
            error.unwrap_err().to_string(),
            "no setting \"speed\"; there are: fast, tier, size"
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_what_is_expected() {
        let error = Settings::check(DECLARED, &given("tier", SettingValue::Text("c".into())));
        assert_eq!(
            error.unwrap_err().to_string(),
            "setting \"tier\" takes \"a\" or \"b\", not \"c\""
        );
        assert!(Settings::check(DECLARED, &given("fast", SettingValue::Integer(1))).is_err());
    }
}
