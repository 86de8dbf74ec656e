//! One line for an error and its causes.

use std::error::Error;

/// The error and its causes, each once: many errors have their cause in their
/// own words already.
pub fn of(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.ends_with(&text) {
            said = format!("{said}: {text}");
        }
        next = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read x: {source}")]
    struct Embedding {
        source: std::io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the plan failed")]
    struct Plain(#[source] Embedding);

    #[test]
    fn every_cause_is_said_once() {
        let error = Plain(Embedding {
            source: std::io::Error::other("gone"),
        });
        assert_eq!(of(&error), "the plan failed: cannot read x: gone");
    }
}
