//! `docs/engines.md`, out of what the tests check.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::differences::{self, DIFFERENCES, WALK};

/// What `trireme engines --json` says of an engine wherever it is. The end-to-end tests hold
/// [`reports`] against what it says in the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The name by which handlers select it.
    pub name: String,
    /// The engine's version.
    pub version: String,
    /// Kinds of WebAssembly that it takes.
    pub kinds: Vec<String>,
    /// Levels of WASI.
    pub wasi: Vec<String>,
    /// Limits that it enforces.
    pub limits: Vec<String>,
    /// Its settings.
    pub settings: Vec<Setting>,
}

/// A setting of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The key in the configuration.
    pub key: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its default.
    pub default: String,
    /// What it does.
    pub doc: String,
}

/// The file of the checkout that holds what engines say of themselves.
pub const REPORTS: &str = "tests/src/engines/reports.json";
/// The page.
pub const PAGE: &str = "docs/engines.md";

/// The programs that run on each engine, and the checks that say so.
const PROGRAMS: &[(&str, &[&str])] = &[
    (
        "C, clang and wasi-libc",
        &["output_is_the_guests_own", "a_c_program_lists_a_folder"],
    ),
    ("Go, `GOOS=wasip1`", &["a_go_program_runs"]),
    (
        "CPython 3.12",
        &[
            "python_runs",
            "python_computes_and_ends_with_its_own_code",
            "python_reads_and_writes_files",
        ],
    ),
    ("a component of `wasi:cli/command`", &["a_component_runs"]),
];

/// What the walk of the tests sees on Linux, a step to a line.
pub const WALKED: &str = include_str!("../../tests/e2e/walk.txt");

const INTRODUCTION: &str = "\
# Engines

What each engine does, and where it differs from the others. Every line comes from
what the tests check; `cargo run --release -p trireme-tests --bin trireme-engines`
writes the page again. How to choose an engine and its settings is in
[configuration.md](configuration.md), how to add one in
[adding-an-engine.md](adding-an-engine.md) and [plugins.md](plugins.md).

The guest contract is one: arguments, environment, files and rights, streams, exit
codes, signals and limits are the same on every engine, except for what stands
under [Differences](#differences). A program's entry is `_start`, or `wasi:cli/run`
of a component, or a function by name (`/file.wasm#function`).
";

const DIFFERENCES_BEGIN: &str = "
## Differences

Each is an expected failure of the tests: when an engine starts to behave, its line
has to go.
";

/// What is recorded of the engines, in the order of [`Engine::ALL`].
///
/// # Errors
///
/// Fails when an engine has no record.
pub fn reports() -> anyhow::Result<Vec<Report>> {
    let records: Vec<Report> = serde_json::from_str(include_str!("reports.json"))?;
    let of = |engine: &Engine| {
        let record = records.iter().find(|record| record.name == engine.name());
        record.cloned().ok_or_else(|| {
            anyhow::anyhow!(
                "{REPORTS} has no {}: give trireme-engines a file of `trireme engines --json`",
                engine.name()
            )
        })
    };
    Engine::ALL.iter().map(of).collect()
}

/// The whole page.
pub fn page(reports: &[Report]) -> String {
    let mut text = INTRODUCTION.to_owned();
    text += &overview(reports);
    text += &programs();
    text += DIFFERENCES_BEGIN;
    for engine in Engine::ALL {
        text += &of_engine(*engine);
    }
    text += "\n## Settings\n";
    for report in reports {
        text += &settings(report);
    }
    text
}

/// A table whose columns are the engines.
fn table(text: &mut String, corner: &str, rows: &[(&str, Vec<String>)]) {
    let names: Vec<_> = Engine::ALL.iter().map(|engine| engine.name()).collect();
    let _ = writeln!(text, "\n| {corner} | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
    for (label, cells) in rows {
        let _ = writeln!(text, "| {label} | {} |", cells.join(" | "));
    }
}

fn overview(reports: &[Report]) -> String {
    let column = |cell: fn(&Report) -> String| reports.iter().map(cell).collect::<Vec<_>>();
    let origin = |engine: &Engine| match engine.plugin() {
        None => "linked in".to_owned(),
        Some(file) => format!("plugin `{file}`"),
    };
    let mut text = String::new();
    table(
        &mut text,
        "",
        &[
            ("version", column(|report| report.version.clone())),
            ("where", Engine::ALL.iter().map(origin).collect()),
            ("takes", column(|report| plural(&report.kinds))),
            ("WASI", column(|report| report.wasi.join(", "))),
            ("limits", column(|report| report.limits.join(", "))),
            (
                "settings",
                column(|report| report.settings.len().to_string()),
            ),
        ],
    );
    text
}

fn plural(kinds: &[String]) -> String {
    let kinds: Vec<_> = kinds.iter().map(|kind| format!("{kind}s")).collect();
    kinds.join(", ")
}

fn programs() -> String {
    let mut rows = Vec::new();
    for (program, checks) in PROGRAMS {
        let cell = |engine: &Engine| {
            let fails = |check: &&str| differences::find(*engine, check).is_some();
            if checks.iter().any(fails) {
                "no"
            } else {
                "yes"
            }
            .to_owned()
        };
        rows.push((*program, Engine::ALL.iter().map(cell).collect()));
    }
    let steps = WALKED.lines().count();
    let cell = |engine: &Engine| {
        let of_walk = |line: &&differences::Difference| line.engine == *engine;
        let checks = DIFFERENCES
            .iter()
            .filter(of_walk)
            .flat_map(|line| line.checks);
        match checks.filter(|(check, _)| check.starts_with(WALK)).count() {
            0 => "all".to_owned(),
            some => format!("all but {some}"),
        }
    };
    let walk = format!("{steps} steps through WASI 0.1, as on Linux");
    rows.push((&walk, Engine::ALL.iter().map(cell).collect()));
    let mut text = "\n## Guest programs\n".to_owned();
    table(&mut text, "", &rows);
    text
}

fn of_engine(engine: Engine) -> String {
    let mut text = format!("\n### {}\n\n", engine.name());
    let mut lines = DIFFERENCES
        .iter()
        .filter(|line| line.engine == engine)
        .peekable();
    if lines.peek().is_none() {
        return text + "None.\n";
    }
    text += "| instead | because of | checked by |\n|---|---|---|\n";
    for line in lines {
        let checks: Vec<_> = line
            .checks
            .iter()
            .map(|(check, _)| format!("`{check}`"))
            .collect();
        let reference = match line.reference.starts_with("https:") {
            true => format!("<{}>", line.reference),
            false => line.reference.to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {reference} | {} |",
            line.instead,
            checks.join(", ")
        );
    }
    text
}

fn settings(report: &Report) -> String {
    let mut text = format!("\n### Settings of {}\n\n", report.name);
    if report.settings.is_empty() {
        return text + "None.\n";
    }
    text += "| key | default | takes | |\n|---|---|---|---|\n";
    for Setting {
        key,
        kind,
        default,
        doc,
    } in &report.settings
    {
        let _ = writeln!(text, "| `{key}` | {default} | {kind} | {doc} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths;

    #[test]
    fn the_page_is_what_the_tests_check() {
        let file = paths::checkout().join(PAGE);
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            there == page(&reports().unwrap()),
            "{PAGE} is stale: run `cargo run --release -p trireme-tests --bin trireme-engines`"
        );
    }
}
