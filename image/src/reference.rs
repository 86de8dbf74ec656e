//! Names of images, as containerd and Docker write them.
//!
//! The grammar is that of the [distribution
//! project](https://github.com/distribution/reference/blob/v0.6.0/reference.go);
//! the shortening is Docker's (`normalize.go` there): `hello` is
//! `docker.io/library/hello:latest`.

use std::fmt;
use std::str::FromStr;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// The full name of an image: registry, path and tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: String,
}

impl Reference {
    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

/// Why a name is not one of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{name}\" is not a name for an image: {reason}")]
pub struct ReferenceError {
    name: String,
    reason: &'static str,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.domain, self.path, self.tag)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError {
            name: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.contains('@') {
        return Err("it has a digest, which follows from what is built; give a tag instead");
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits are an image's id");
    }
    let (domain, rest) = split_domain(text);
    let (path, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
    check_domain(domain)?;
    check_path(path)?;
    check_tag(tag)?;
    let path = match domain == DEFAULT_DOMAIN && !path.contains('/') {
        true => format!("library/{path}"),
        false => path.to_owned(),
    };
    if domain.len() + 1 + path.len() > MAX_NAME {
        return Err("it is longer than 255 bytes");
    }
    Ok(Reference {
        domain: domain.to_owned(),
        path,
        tag: tag.to_owned(),
    })
}

/// The first part is a registry if it looks like a host: a dot, a port,
/// `localhost`, or an upper case letter, which no path has.
fn split_domain(text: &str) -> (&str, &str) {
    let is_host = |part: &str| {
        part.contains(['.', ':', '[']) || part == "localhost" || part != part.to_lowercase()
    };
    match text.split_once('/') {
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((domain, rest)) if is_host(domain) => (domain, rest),
        _ => (DEFAULT_DOMAIN, text),
    }
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return Err("the registry's port is not a number");
    }
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let valid = match address {
        Some(v6) => !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(is_host_label),
    };
    valid
        .then_some(())
        .ok_or("the registry is not the name or address of a host")
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("upper case letters are allowed in the tag alone");
    }
    path.split('/').all(is_path_component).then_some(()).ok_or(
        "each part between slashes must be lower case letters and digits, joined by \".\", \"_\", \
         \"__\" or \"-\"",
    )
}

fn is_path_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let joined = |joint: &[u8]| match joint {
        b"" | b"." | b"_" | b"__" => true,
        dashes => dashes.iter().all(|b| *b == b'-'),
    };
    let bytes = part.as_bytes();
    bytes.first().is_some_and(|b| word(*b))
        && bytes.last().is_some_and(|b| word(*b))
        && bytes.split(|b| word(*b)).all(joined)
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    valid.then_some(()).ok_or(
        "the tag must be at most 128 letters, digits, \"_\", \".\" and \"-\", and not begin with \
         \".\" or \"-\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_full_ones() {
        for (text, full) in [
            ("hello", "docker.io/library/hello:latest"),
            ("hello:v1.0_B", "docker.io/library/hello:v1.0_B"),
            ("a/b", "docker.io/a/b:latest"),
            ("docker.io/hello", "docker.io/library/hello:latest"),
            ("index.docker.io/a/b:1", "docker.io/a/b:1"),
            ("localhost/hello", "localhost/hello:latest"),
            ("localhost:5000/hello:2", "localhost:5000/hello:2"),
            ("ghcr.io/a/b-c__d.e/f--g", "ghcr.io/a/b-c__d.e/f--g:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("[::1]/x", "[::1]/x:latest"),
            ("Host/x", "Host/x:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(full.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "it is empty"),
            ("a@sha256:00", "it has a digest"),
            (&"0".repeat(64), "64 hexadecimal digits"),
            ("Hello", "upper case letters"),
            ("a/Hello", "upper case letters"),
            ("a//b", "each part between slashes"),
            ("/a", "each part between slashes"),
            ("a/", "each part between slashes"),
            ("a b", "each part between slashes"),
            ("a___b", "each part between slashes"),
            ("a._b", "each part between slashes"),
            ("-a", "each part between slashes"),
            ("é", "each part between slashes"),
            ("a:", "the tag must be"),
            ("a:.b", "the tag must be"),
            ("a:b:c", "the tag must be"),
            ("a:b/c", "the registry's port"),
            ("x.y:5x/a", "the registry's port"),
            ("-x.y/a", "the registry is not"),
            ("x..y/a", "the registry is not"),
            (&"a".repeat(256), "longer than 255"),
            (&format!("a:{}", "b".repeat(129)), "the tag must be"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("\"{text}\" is not a name")),
                "{error}"
            );
            assert!(error.contains(reason), "{error}");
        }
    }
}
