//! Digests of content, `sha256:…` or `sha512:…`.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// The digest of a blob. What it prints holds nothing but an algorithm, a
/// colon and hexadecimal digits, so that it can be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Sha256,
    Sha512,
}

/// Text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest; it has to be sha256: or sha512: and its hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The hexadecimal digits, in lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Whether these are the bytes that it is the digest of.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        self.hex
            == match self.algorithm {
                Algorithm::Sha256 => hex(&Sha256::digest(bytes)),
                Algorithm::Sha512 => hex(&Sha512::digest(bytes)),
            }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        const SHOWN: usize = 80;
        let refused = || DigestError(text.chars().take(SHOWN).collect());
        let (algorithm, hex) = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => (Algorithm::Sha256, hex),
            Some(("sha512", hex)) if hex.len() == 128 => (Algorithm::Sha512, hex),
            _ => return Err(refused()),
        };
        if !hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(refused());
        }
        Ok(Digest {
            algorithm,
            hex: hex.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_its_bytes_alone() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest: Digest = empty.parse().unwrap();
        assert_eq!(digest.to_string(), empty);
        assert!(digest.is_of(b"") && !digest.is_of(b"x"));
        let long = format!("sha512:{}", hex(&Sha512::digest(b"x")));
        assert!(long.parse::<Digest>().unwrap().is_of(b"x"));
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_digest() {
        let hex = "e".repeat(64);
        for text in [
            "",
            "sha256:",
            "sha256:../../../../etc/shadow",
            &format!("sha256:{}", "/".repeat(64)),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{hex}0"),
            &format!("sha512:{hex}"),
            &format!("md5:{hex}"),
            &format!("../sha256:{hex}"),
            &hex,
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        let error = "x".repeat(5000).parse::<Digest>().unwrap_err();
        assert!(error.to_string().len() < 200);
    }
}
