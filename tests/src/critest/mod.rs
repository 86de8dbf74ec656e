//! What `critest`, the validation suite of cri-tools for runtimes of Kubernetes, says of a handler
//! beside what it says of runc on the same host.
//!
//! Its images are programs of Linux, so that it tries what a handler does with those: pause
//! containers, sidecars, and all that a pod asks for in namespaces, mounts, limits and streams.

pub mod differences;
pub mod page;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The specs, by their names without the marks that say where they belong, a line each: what `critest`
/// lists with `--ginkgo.dry-run`.
const SPECS: &str = include_str!("specs.txt");
/// Marks in the names of specs.
const MARKS: [&str; 2] = ["[k8s.io] ", " [Conformance]"];
/// What the names of specs that are measurements hold; they are left out.
pub const MEASUREMENT: &str = "benchmark";
/// The handler that is the measure of the others.
pub const RUNC: &str = "runc";
/// The part of its specs, in percent, that runc has to pass for a run to mean anything.
pub const ENOUGH: usize = 90;

/// The name of every spec.
pub fn specs() -> impl Iterator<Item = &'static str> {
    SPECS.lines()
}

/// How a spec ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it has to.
    Passed,
    /// The suite found that the host or the handler has no such thing.
    Skipped,
    /// Otherwise than it has to.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        })
    }
}

/// What became of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub state: State,
    /// Why it was skipped or failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What became of every spec, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results(pub BTreeMap<String, Outcome>);

impl Results {
    /// Reads the report that ginkgo writes with `--json-report`, which has to tell of every spec and
    /// of no other.
    ///
    /// # Errors
    ///
    /// When it is no such report, or one of other specs.
    pub fn parse(report: &[u8]) -> Result<Self> {
        let suites: Vec<Suite> = serde_json::from_slice(report).context("ginkgo's report")?;
        let mut found = BTreeMap::new();
        for spec in suites.into_iter().flat_map(|suite| suite.spec_reports) {
            let name = spec.name();
            if spec.leaf_node_type == "It" && !name.contains(MEASUREMENT) {
                ensure!(
                    specs().any(|known| known == name),
                    "`{name}` is not in tests/src/critest/specs.txt: is this another critest?"
                );
                found.insert(name, spec.outcome()?);
            }
        }
        let missing: Vec<_> = specs().filter(|name| !found.contains_key(*name)).collect();
        ensure!(missing.is_empty(), "specs that did not run: {missing:?}");
        Ok(Self(found))
    }

    /// How many specs ended so.
    pub fn count(&self, state: State) -> usize {
        self.0
            .values()
            .filter(|outcome| outcome.state == state)
            .count()
    }

    /// What became of a spec.
    ///
    /// # Errors
    ///
    /// When there is no such spec.
    pub fn get(&self, spec: &str) -> Result<&Outcome> {
        self.0
            .get(spec)
            .with_context(|| format!("there is no spec `{spec}`"))
    }

    /// Whether enough of what ran has passed.
    ///
    /// # Errors
    ///
    /// When too little has; the message names what failed.
    pub fn is_enough(&self) -> Result<()> {
        let [passed, failed] = [State::Passed, State::Failed].map(|state| self.count(state));
        let failures: Vec<_> = self
            .0
            .iter()
            .filter(|(_, outcome)| outcome.state == State::Failed)
            .map(|(name, outcome)| format!("{name}: {}", outcome.message))
            .collect();
        ensure!(
            passed > 0 && passed * 100 >= (passed + failed) * ENOUGH,
            "{passed} of {} specs passed that ran, which is less than {ENOUGH} %; failed:\n{}",
            passed + failed,
            failures.join("\n")
        );
        Ok(())
    }
}

/// See `types.Report` of ginkgo 2.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Spec>,
}

/// See `types.SpecReport` of ginkgo 2.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

impl Spec {
    fn name(&self) -> String {
        let mut words = self.container_hierarchy_texts.clone().unwrap_or_default();
        words.push(self.leaf_node_text.clone());
        words.retain(|word| !word.is_empty());
        let name = words.join(" ");
        MARKS.iter().fold(name, |name, mark| name.replace(mark, ""))
    }

    fn outcome(self) -> Result<Outcome> {
        let state = match self.state.as_str() {
            "passed" => State::Passed,
            "skipped" => State::Skipped,
            "failed" | "panicked" | "timedout" => State::Failed,
            other => bail!("`{}`: {other}: the run was cut short", self.name()),
        };
        let message = self.failure.map(|failure| failure.message);
        Ok(Outcome {
            state,
            message: message.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(state: impl Fn(&str) -> Option<&'static str>) -> Vec<u8> {
        let specs: Vec<_> = specs()
            .filter_map(|name| {
                let (first, rest) = name.split_once(' ')?;
                Some(json!({
                    "ContainerHierarchyTexts": [format!("[k8s.io] {first}")],
                    "LeafNodeType": "It",
                    "LeafNodeText": format!("{rest} [Conformance]"),
                    "State": state(name)?,
                    "Failure": { "Message": "because" },
                }))
            })
            .collect();
        json!([{ "SpecReports": specs }]).to_string().into_bytes()
    }

    #[test]
    fn a_report_tells_of_every_spec() {
        let results = Results::parse(&report(|_| Some("passed"))).unwrap();
        assert_eq!(results.count(State::Passed), specs().count());
        results.is_enough().unwrap();
    }

    #[test]
    fn a_spec_that_is_missing_is_named() {
        let first = specs().next().unwrap();
        let report = report(|name| (name != first).then_some("passed"));
        let error = Results::parse(&report).unwrap_err().to_string();
        assert!(error.contains(first), "{error}");
    }

    #[test]
    fn nine_in_ten_are_enough_of_those_that_ran() {
        let parse = |failed: usize| {
            let names: Vec<_> = specs().collect();
            let (skipped, rest) = names.split_at(names.len() - 100);
            let failed = &rest[..failed];
            let results = Results::parse(&report(|name| {
                Some(match name {
                    _ if skipped.contains(&name) => "skipped",
                    _ if failed.contains(&name) => "failed",
                    _ => "passed",
                })
            }));
            results.unwrap().is_enough()
        };
        parse(10).unwrap();
        let error = parse(11).unwrap_err().to_string();
        assert!(error.contains("because"), "{error}");
    }
}
