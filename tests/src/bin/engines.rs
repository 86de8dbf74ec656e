//! `trireme-engines`: writes `docs/engines.md` from what the tests check.
//!
//! With files of `trireme engines --json`, from a host that has the engines, it first takes over
//! what these say of them.

use std::fs;

use anyhow::{Context, Result};
use trireme_tests::engines::page::{self, PAGE, REPORTS, Report};
use trireme_tests::paths;

fn main() -> Result<()> {
    let mut reports: Vec<Report> = serde_json::from_str(&read(REPORTS)?)?;
    for file in std::env::args().skip(1) {
        let said = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let said: Vec<Report> = serde_json::from_str(&said).with_context(|| file.clone())?;
        reports.retain(|known| said.iter().all(|report| report.name != known.name));
        reports.extend(said);
    }
    reports.sort_by_key(order);
    let json = serde_json::to_string_pretty(&reports)? + "\n";
    write(REPORTS, &json)?;
    write(PAGE, &page::page(&reports))
}

/// The place of an engine among the columns of the page.
fn order(report: &Report) -> usize {
    let all = trireme_tests::engines::Engine::ALL;
    let place = all.iter().position(|engine| engine.name() == report.name);
    place.unwrap_or(all.len())
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(paths::checkout().join(file)).with_context(|| format!("read {file}"))
}

fn write(file: &str, text: &str) -> Result<()> {
    fs::write(paths::checkout().join(file), text).with_context(|| format!("write {file}"))
}
