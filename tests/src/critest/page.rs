//! What is written of the results: a table of a run, and the parts of `docs/cri.md` that come from
//! the lists of differences.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use super::differences::{Difference, find};
use super::{Results, State, specs};

/// The page of the documentation.
pub const PAGE: &str = "docs/cri.md";
/// How many words of a message the table has.
const WORDS: usize = 40;
/// The kinds of hosts that are tried, with the versions of their containerd.
const VERSIONS: [(&str, &str); 2] = [("forky-2.3", "2.3.4"), ("trixie", "1.7.24")];

/// The results of a host, a line a spec and a column a handler, with what is known of differences.
///
/// # Errors
///
/// When a spec is missing.
pub fn table(host: &str, results: &BTreeMap<&str, &Results>) -> Result<String> {
    let mut text = format!("# critest on {host}\n\n");
    let _ = writeln!(text, "| | {} | |", join(results.keys()));
    let _ = writeln!(text, "|---|{}---|", "---|".repeat(results.len()));
    for state in [State::Passed, State::Skipped, State::Failed] {
        let counts = results.values().map(|results| results.count(state));
        let _ = writeln!(text, "| **{state}** | {} | |", join(counts));
    }
    for spec in specs() {
        let mut states = Vec::new();
        for results in results.values() {
            states.push(results.get(spec)?.state);
        }
        let reason = find(host, spec).map_or("", |known| known.reason);
        let _ = writeln!(text, "| {spec} | {} | {reason} |", join(states));
    }
    let _ = writeln!(text, "\n## Why not\n");
    for (handler, results) in results {
        for (spec, outcome) in &results.0 {
            if outcome.state != State::Passed {
                // All of it is in the other file.
                let words = outcome.message.split_whitespace().take(WORDS);
                let message = words.collect::<Vec<_>>().join(" ");
                let _ = writeln!(text, "- {handler}, {spec}: {}: {message}", outcome.state);
            }
        }
    }
    Ok(text)
}

fn join(words: impl IntoIterator<Item = impl ToString>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| word.to_string()).collect();
    words.join(" | ")
}

/// The rows of one of the page's tables, by its list: what of the suite ends otherwise.
pub fn rows(list: &[Difference]) -> String {
    let mut rows = String::new();
    for known in list {
        let on: Vec<_> = known.hosts.iter().map(|host| version(host)).collect();
        let Difference {
            spec,
            state,
            reason,
            ..
        } = known;
        let _ = writeln!(rows, "| {spec} | {state} | {} | {reason} |", on.join(", "));
    }
    rows
}

fn version(host: &str) -> &str {
    let known = VERSIONS.iter().find(|(kind, _)| *kind == host);
    known.map_or(host, |(_, version)| version)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::differences::{DIFFERENCES, UNPASSED};
    use super::*;
    use crate::paths;

    #[test]
    fn the_page_says_what_is_listed() {
        let page = fs::read_to_string(paths::checkout().join(PAGE)).unwrap();
        for list in [DIFFERENCES, UNPASSED] {
            let rows = rows(list);
            assert!(
                page.contains(&format!("|---|---|---|---|\n{rows}\n")),
                "a table of {PAGE} has to have these rows and no more:\n{rows}"
            );
        }
        let count = format!("{} specs", specs().count());
        assert!(page.contains(&count), "{PAGE} does not say `{count}`");
    }
}
