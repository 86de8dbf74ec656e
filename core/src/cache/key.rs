//! What precompiled code is filed under.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The key of an entry: a SHA-256 in lower case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

/// All that decides which code a compiler makes.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// SHA-256 of the WebAssembly bytes, in hexadecimal.
    pub wasm: &'a str,
    /// The engine's name.
    pub engine: &'a str,
    /// The build id of the file that holds the compiler.
    pub build: &'a str,
    /// Settings and limits, as canonical text.
    pub settings: &'a str,
    /// What the processor offers, as text.
    pub processor: &'a str,
}

impl Key {
    /// The key of the code that a compiler makes from these parts.
    pub fn new(parts: KeyParts<'_>) -> Self {
        let mut hash = Sha256::new();
        for part in [
            parts.wasm,
            parts.engine,
            parts.build,
            parts.settings,
            parts.processor,
        ] {
            // The length keeps neighbouring parts from running into each other.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Key(hex(&hash.finalize()))
    }

    /// A key from its text, or `None` for anything but 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        is_digest(text).then(|| Key(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the text is a SHA-256 in lower case hexadecimal.
pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Bytes in lower case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// What this processor offers, as text that differs where compiled code may.
#[cfg(target_arch = "x86_64")]
pub fn processor_features() -> String {
    macro_rules! features {
        ($($name:tt),+ $(,)?) => {
            [$(($name, std::arch::is_x86_feature_detected!($name))),+]
        };
    }
    let features = features![
        "sse3",
        "ssse3",
        "sse4.1",
        "sse4.2",
        "popcnt",
        "avx",
        "avx2",
        "fma",
        "bmi1",
        "bmi2",
        "lzcnt",
        "cmpxchg16b",
        "avx512f",
        "avx512bw",
        "avx512cd",
        "avx512dq",
        "avx512vl",
        "avx512vbmi",
        "avx512bitalg",
        "avx512vnni",
        "gfni",
        "vaes",
        "vpclmulqdq",
        "sha",
    ];
    let there: Vec<_> = features
        .iter()
        .filter(|(_, on)| *on)
        .map(|(name, _)| *name)
        .collect();
    format!("x86_64 {}", there.join(" "))
}

/// What this processor offers, as text that differs where compiled code may.
#[cfg(not(target_arch = "x86_64"))]
pub fn processor_features() -> String {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let features = flags
        .lines()
        .find(|line| line.starts_with("Features"))
        .unwrap_or_default();
    format!("{} {features}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: KeyParts<'static> = KeyParts {
        wasm: "ab",
        engine: "c",
        build: "d",
        settings: "",
        processor: "x",
    };

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let key = Key::new(PARTS);
        for other in [
            KeyParts {
                wasm: "a",
                engine: "bc",
                ..PARTS
            },
            KeyParts {
                build: "e",
                ..PARTS
            },
            KeyParts {
                settings: "fast=true\n",
                ..PARTS
            },
            KeyParts {
                processor: "y",
                ..PARTS
            },
        ] {
            assert_ne!(Key::new(other), key);
        }
        assert_eq!(Key::new(PARTS), key);
        assert_eq!(Key::parse(key.as_str()), Some(key));
    }

    #[test]
    fn only_a_digest_is_a_key() {
        assert_eq!(Key::parse("../../etc/passwd"), None);
        assert_eq!(Key::parse(&"A".repeat(64)), None);
    }
}
