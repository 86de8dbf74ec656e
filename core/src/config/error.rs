//! Why a configuration is refused, in the words of somebody who edits it.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("cannot read the configuration {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_SIZE`](super::MAX_SIZE).
    #[error("the configuration {} is larger than 1 MiB; is it the right file?", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The file is not UTF-8.
    #[error("the configuration {} is not UTF-8 text; is it the right file?", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
    },
    /// The text is not TOML, or says something that is not understood.
    #[error("{}:{line}: {message}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong and what is expected.
        message: String,
    },
}

impl ConfigError {
    /// Words an error of the TOML parser for the reader of the file.
    pub(super) fn invalid(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let start = span.start.min(text.len());
        let message =
            unknown_key(text, &span, error.message()).unwrap_or_else(|| plain(error.message()));
        ConfigError::Invalid {
            file: file.to_owned(),
            line: 1 + text.as_bytes()[..start]
                .iter()
                .filter(|b| **b == b'\n')
                .count(),
            message,
        }
    }
}

/// The message for a key or a word that is none of those expected.
///
/// serde hands the words over in its text alone, each in backquotes: first the
/// one that was found, then those that were expected.
fn unknown_key(text: &str, span: &Range<usize>, message: &str) -> Option<String> {
    let (what, rest) = [("unknown field ", "key"), ("unknown variant ", "value")]
        .into_iter()
        .find_map(|(prefix, what)| Some((what, message.strip_prefix(prefix)?)))?;
    let (found, expected) = rest
        .split_once(", expected")
        .or_else(|| rest.split_once(", there"))?;
    let found = quoted(found).next().or_else(|| text.get(span.clone()))?;
    let known: Vec<&str> = quoted(expected).collect();
    let mut message = format!("unknown {what} \"{found}\"");
    if let Some(near) = nearest(found, &known) {
        message += &format!("; did you mean \"{near}\"?");
    }
    if known.is_empty() {
        return Some(message + "; none is expected here");
    }
    message += if message.ends_with('?') {
        " It can be: "
    } else {
        "; it can be: "
    };
    Some(message + &known.join(", "))
}

/// The words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The word most like `word`, if one is like it at all.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |k: &str| strsim::jaro_winkler(&word.to_lowercase(), k);
    known
        .iter()
        .map(|k| (likeness(k), *k))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// The parser's message on one line, with what is Rust's put in words.
fn plain(message: &str) -> String {
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("the key {} is missing", field.replace('`', "\""));
    }
    message
        .replace('\n', ", ")
        .replace("expected u64", "expected a whole number of at least 0")
        .replace("expected struct Config", "expected a table")
        .replace("expected a map", "expected a table")
        .replace(['\u{60}'], "")
}
