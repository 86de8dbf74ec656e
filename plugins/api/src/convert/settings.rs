//! Settings and limits on their way to a plugin.

use std::collections::BTreeMap;

use trireme_engine::{Limit, Limits, Setting, SettingType, SettingValue, Settings, SettingsError};

use super::numbers::ToNumber;
use super::{MAX_ITEMS, MAX_NAME, Malformed, Number, bytes};
use crate::{abi, memory};

/// The values of every declared setting; they borrow from both.
pub fn to_abi(declared: &[Setting], settings: &Settings) -> Vec<abi::Value> {
    declared
        .iter()
        .map(|setting| value(setting, settings))
        .collect()
}

fn value(setting: &Setting, settings: &Settings) -> abi::Value {
    let key = bytes(setting.key);
    let (kind, number, text) = match setting.kind {
        SettingType::Bool => (
            abi::SETTING_BOOL,
            u64::from(settings.bool(setting.key)),
            bytes(""),
        ),
        SettingType::Integer => (
            abi::SETTING_INTEGER,
            settings.integer(setting.key),
            bytes(""),
        ),
        SettingType::Choice(_) => (abi::SETTING_CHOICE, 0, bytes(settings.choice(setting.key))),
    };
    abi::Value {
        key,
        kind,
        number,
        text,
    }
}

/// Why settings that came over the interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FromAbi {
    /// They make no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They do not fit what the engine declares.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// The settings of an engine that declares these.
///
/// # Safety
///
/// `values` must lead to `count` values, and those where they say.
///
/// # Errors
///
/// For values that make no sense or do not fit.
pub unsafe fn from_abi(
    declared: &[Setting],
    values: *const abi::Value,
    count: usize,
) -> Result<Settings, FromAbi> {
    // SAFETY: the caller vouches for the values.
    let values = unsafe { memory::items(values, count, MAX_ITEMS, "the list of values") }?;
    let given: Result<BTreeMap<_, _>, Malformed> = values
        .iter()
        .map(|value| {
            // SAFETY: the caller vouches for the texts.
            let (key, text) = unsafe {
                (
                    memory::text(value.key, MAX_NAME, "the key of a value")?,
                    memory::text(value.text, MAX_NAME, "the text of a value")?,
                )
            };
            let value = match value.kind {
                abi::SETTING_BOOL => SettingValue::Bool(value.number != 0),
                abi::SETTING_INTEGER => SettingValue::Integer(value.number),
                abi::SETTING_CHOICE => SettingValue::Text(text.to_owned()),
                number => {
                    return Err(Malformed::Unknown {
                        what: "the type of a value",
                        number,
                    });
                }
            };
            Ok((key.to_owned(), value))
        })
        .collect();
    Ok(Settings::check(declared, &given?)?)
}

/// The limits that are set.
pub fn limits_to_abi(limits: &Limits) -> Vec<abi::Limit> {
    limits
        .set()
        .map(|(limit, value)| abi::Limit {
            limit: limit.number(),
            value,
        })
        .collect()
}

/// Limits from those that are set.
///
/// # Safety
///
/// `limits` must lead to `count` limits.
///
/// # Errors
///
/// For limits that make no sense.
pub unsafe fn limits_from_abi(
    limits: *const abi::Limit,
    count: usize,
) -> Result<Limits, Malformed> {
    let mut all = Limits::default();
    // SAFETY: the caller vouches for the limits.
    for limit in unsafe { memory::items(limits, count, MAX_ITEMS, "the list of limits") }? {
        let slot = match Limit::of(limit.limit)? {
            Limit::Memory => &mut all.memory,
            Limit::Table => &mut all.table,
            Limit::Stack => &mut all.stack,
            Limit::Fuel => &mut all.fuel,
        };
        *slot = Some(limit.value);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &[Setting] = &[
        Setting {
            key: "fast",
            kind: SettingType::Bool,
            default: "false",
            doc: "",
        },
        Setting {
            key: "size",
            kind: SettingType::Integer,
            default: "1",
            doc: "",
        },
        Setting {
            key: "tier",
            kind: SettingType::Choice(&["a", "b"]),
            default: "a",
            doc: "",
        },
    ];

    #[test]
    fn settings_come_through_whole() {
        let given = BTreeMap::from([
            ("fast".to_owned(), SettingValue::Bool(true)),
            ("size".to_owned(), SettingValue::Integer(u64::MAX)),
            ("tier".to_owned(), SettingValue::Text("b".into())),
        ]);
        let settings = Settings::check(DECLARED, &given).expect("settings");
        let values = to_abi(DECLARED, &settings);
        // SAFETY: the values are those just made.
        let back = unsafe { from_abi(DECLARED, values.as_ptr(), values.len()) };
        assert_eq!(back.expect("settings"), settings);
    }

    #[test]
    fn a_value_of_an_unknown_type_or_key_is_refused() {
        let value = |kind, key| abi::Value {
            key: bytes(key),
            kind,
            number: 0,
            text: bytes(""),
        };
        for (value, message) in [
            (value(9, "fast"), "the type of a value 9 is not known"),
            (value(abi::SETTING_BOOL, "slow"), "no setting \"slow\""),
        ] {
            // SAFETY: one value of constants.
            let error = unsafe { from_abi(DECLARED, &raw const value, 1) }.expect_err("a refusal");
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn limits_come_through_as_far_as_they_are_set() {
        let limits = Limits {
            memory: Some(0),
            fuel: Some(u64::MAX),
            ..Limits::default()
        };
        let list = limits_to_abi(&limits);
        // SAFETY: the list is the one just made.
        let back = unsafe { limits_from_abi(list.as_ptr(), list.len()) };
        assert_eq!(back, Ok(limits));
    }
}
