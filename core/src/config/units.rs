//! Values with units and rules: sizes, durations, names, absolute paths.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};
use trireme_engine::SettingValue;

const SIZE: &str = "a size: bytes as a whole number, or a string such as \"64MiB\" (KiB, MiB, \
                    GiB or TiB)";
const DURATION: &str = "a duration: a string such as \"500ms\", \"60s\", \"5m\" or \"1h\"";
const NAME: &str = "a name of at most 63 lower case letters, digits and \"-\" that begins and \
                    ends with a letter or digit";

const SIZES: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];
const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// A size in bytes, written as a number or with a binary unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZES
            .iter()
            .find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit))
        {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = SIZES
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), *unit)))
            .unwrap_or((text, 1));
        whole(number)
            .and_then(|n| n.checked_mul(unit))
            .map(Bytes)
            .ok_or_else(|| format!("expected {SIZE}"))
    }
}

/// A number of nothing but digits: `parse` alone would take a sign too.
fn whole(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE)
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Bytes, E> {
                Ok(Bytes(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Bytes, E> {
                u64::try_from(value)
                    .map(Bytes)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Bytes, E> {
                value
                    .parse()
                    .map_err(|_| E::invalid_value(Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Size)
    }
}

pub(super) fn positive_bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
    let bytes = Bytes::deserialize(d)?;
    if bytes.0 == 0 {
        return Err(D::Error::invalid_value(
            Unexpected::Unsigned(0),
            &"a size above 0",
        ));
    }
    Ok(bytes)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, millis) = DURATIONS
        .iter()
        .find(|(name, _)| *name == unit.trim_start())?;
    whole(number)?
        .checked_mul(*millis)
        .map(Duration::from_millis)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    text(d, DURATION, parse_duration)
}

pub(super) fn positive_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    text(d, "a duration above 0, such as \"60s\"", |s| {
        parse_duration(s).filter(|d| !d.is_zero())
    })
}

pub(super) fn write_duration<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
    let millis = value.as_millis();
    match millis.is_multiple_of(1000) {
        true => s.collect_str(&format_args!("{}s", millis / 1000)),
        false => s.collect_str(&format_args!("{millis}ms")),
    }
}

pub(super) fn absolute<'de, D: Deserializer<'de>>(d: D) -> Result<PathBuf, D::Error> {
    text(d, "an absolute path", |s| {
        Some(PathBuf::from(s)).filter(|p| p.is_absolute())
    })
}

pub(super) fn optional_absolute<'de, D>(d: D) -> Result<Option<PathBuf>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Absolute(PathBuf);
    impl<'de> Deserialize<'de> for Absolute {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            absolute(d).map(Absolute)
        }
    }
    Ok(Option::<Absolute>::deserialize(d)?.map(|path| path.0))
}

/// A name as Kubernetes takes it for a RuntimeClass handler: a label of RFC
/// 1123.
pub(super) fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    text(d, NAME, |s| is_name(s).then(|| s.to_owned()))
}

fn is_name(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// A table whose keys are names.
pub(super) fn named<'de, D, V>(d: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Name(String);
    impl<'de> Deserialize<'de> for Name {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            name(d).map(Name)
        }
    }
    let table = BTreeMap::<Name, V>::deserialize(d)?;
    Ok(table
        .into_iter()
        .map(|(name, value)| (name.0, value))
        .collect())
}

/// A string that `parse` understands; `expected` words the error.
fn text<'de, D, T>(
    d: D,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Text<F>(&'static str, F);
    impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
            (self.1)(value).ok_or_else(|| E::invalid_value(Unexpected::Str(value), &self.0))
        }
    }
    d.deserialize_str(Text(expected, parse))
}

/// An engine's settings. serde's own reading of [`SettingValue`] tells only
/// that no variant fits.
pub(super) fn settings<'de, D>(d: D) -> Result<BTreeMap<String, SettingValue>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Value(SettingValue);
    impl<'de> Deserialize<'de> for Value {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            d.deserialize_any(ValueVisitor).map(Value)
        }
    }
    let table = BTreeMap::<String, Value>::deserialize(d)?;
    Ok(table
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect())
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = SettingValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false, a whole number of at least 0 or a string")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<SettingValue, E> {
        Ok(SettingValue::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<SettingValue, E> {
        Ok(SettingValue::Integer(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<SettingValue, E> {
        u64::try_from(value)
            .map(SettingValue::Integer)
            .map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<SettingValue, E> {
        Ok(SettingValue::Text(value.to_owned()))
    }
}
