//! One line for an error and its causes.

use std::error::Error;

/// How long a line is at most, in bytes. What a guest's file or an image has a word in may be
/// of any length, and has to reach whoever waits for it.
const MAX_LENGTH: usize = 4096;

/// The error and its causes, each once: many errors have their cause in their
/// own words already. As one line for a terminal, of at most 4 KiB.
pub fn of(error: &(dyn Error + 'static)) -> String {
    line(&whole(error))
}

/// A text without control characters, and no space around it, of at most 4 KiB.
pub fn line(text: &str) -> String {
    const CUT: char = '…';
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut line = String::new();
    for c in text.trim().chars().map(plain) {
        if line.len() + c.len_utf8() > MAX_LENGTH - CUT.len_utf8() {
            line.push(CUT);
            break;
        }
        line.push(c);
    }
    line
}

fn whole(error: &(dyn Error + 'static)) -> String {
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
    #[test]
    fn a_line_is_for_a_terminal_and_for_a_message() {
        assert_eq!(line(" one\n\x1b[2Jtwo\u{9b}31m "), "one  [2Jtwo 31m");
        let cut = line(&"é".repeat(MAX_LENGTH));
        assert!(
            cut.ends_with("é…") && cut.len() <= MAX_LENGTH,
            "{}",
            cut.len()
        );
        let whole = "x".repeat(MAX_LENGTH - 3);
        assert_eq!(line(&whole), whole);
        let text = std::io::Error::other("\n".repeat(100_000) + "end");
        assert_eq!(of(&text), "end");
    }
}
