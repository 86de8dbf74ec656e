//! `trireme engines`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use trireme_core::config::Config;
use trireme_core::request::{EngineReport, EngineState, ProbeRequest, SettingReport};

use crate::settings::ConfigOption;
use crate::{executor, output};

/// The arguments of `trireme engines`.
#[derive(Args)]
pub struct Engines {
    /// List each engine's settings
    #[arg(long)]
    settings: bool,
    /// Print everything as JSON
    #[arg(long, conflicts_with = "settings")]
    json: bool,
    #[command(flatten)]
    config: ConfigOption,
}

impl Engines {
    /// Asks the executor and prints what it says.
    pub fn execute(self) -> Result<()> {
        let loaded = self.config.load()?;
        let request = ProbeRequest {
            plugins: plugins(&loaded.config),
        };
        let reports: Vec<EngineReport> = executor::ask("probe", &request)?;
        match (self.json, self.settings) {
            (true, _) => output::print_json(&reports),
            (_, true) => output::print(&settings(&reports)),
            _ => output::print(&overview(&reports)),
        }
    }
}

fn plugins(config: &Config) -> BTreeMap<String, PathBuf> {
    let plugin = |(name, engine): (&String, &trireme_core::config::EngineConfig)| {
        Some((name.clone(), engine.plugin.clone()?))
    };
    config.engines.iter().filter_map(plugin).collect()
}

/// A table of the engines that can be used, and a line for each that cannot.
fn overview(reports: &[EngineReport]) -> String {
    let mut rows = Vec::new();
    let mut missing = String::new();
    for report in reports {
        match &report.state {
            EngineState::Ready {
                version,
                kinds,
                wasi,
                limits,
                ..
            } => rows.push([
                report.name.clone(),
                version.clone(),
                list(kinds),
                list(wasi),
                list(limits),
                report.origin.clone(),
            ]),
            EngineState::Missing { reason } => {
                missing += &format!(
                    "{} is not there ({}): {reason}\n",
                    report.name, report.origin
                );
            }
        }
    }
    let header = ["ENGINE", "VERSION", "KINDS", "WASI", "LIMITS", "ORIGIN"];
    match rows.is_empty() {
        true => missing,
        false => output::table(header, &rows) + &missing,
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    match items.is_empty() {
        true => "-".into(),
        false => items.iter().map(T::to_string).collect::<Vec<_>>().join(","),
    }
}

/// The settings of the engines that can be used, a table each.
fn settings(reports: &[EngineReport]) -> String {
    let tables = reports.iter().map(|report| match &report.state {
        EngineState::Ready { settings, .. } if settings.is_empty() => {
            format!("{} takes no settings\n", report.name)
        }
        EngineState::Ready { settings, .. } => {
            let rows: Vec<_> = settings.iter().map(setting).collect();
            let table = output::table(["SETTING", "DEFAULT", "TAKES", ""], &rows);
            format!("{}\n{table}", report.name)
        }
        EngineState::Missing { reason } => format!("{} is not there: {reason}\n", report.name),
    });
    tables.collect::<Vec<_>>().join("\n")
}

fn setting(setting: &SettingReport) -> [String; 4] {
    [&setting.key, &setting.default, &setting.kind, &setting.doc].map(String::clone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_engine::Kind;

    fn reports() -> Vec<EngineReport> {
        let optimize = SettingReport {
            key: "optimize".into(),
            kind: "\"none\" or \"speed\"".into(),
            default: "speed".into(),
            doc: "How hard the compiler tries".into(),
        };
        let ready = EngineState::Ready {
            version: "1.2".into(),
            kinds: vec![Kind::Module, Kind::Component],
            wasi: vec!["0.1".into(), "0.2".into()],
            limits: Vec::new(),
            settings: vec![optimize],
            build: "abc".into(),
        };
        let missing = EngineState::Missing {
            reason: "no such file; install it".into(),
        };
        vec![
            EngineReport {
                name: "fast".into(),
                origin: "linked in".into(),
                state: ready,
            },
            EngineReport {
                name: "edge".into(),
                origin: "/e.so".into(),
                state: missing,
            },
        ]
    }

    #[test]
    fn the_overview_says_why_an_engine_is_not_there() {
        assert_eq!(
            overview(&reports()),
            "ENGINE  VERSION  KINDS             WASI     LIMITS  ORIGIN\n\
             fast    1.2      module,component  0.1,0.2  -       linked in\n\
             edge is not there (/e.so): no such file; install it\n"
        );
    }

    #[test]
    fn settings_are_listed_with_what_they_take() {
        assert_eq!(
            settings(&reports()),
            "fast\n\
             SETTING   DEFAULT  TAKES\n\
             optimize  speed    \"none\" or \"speed\"  How hard the compiler tries\n\
             \nedge is not there: no such file; install it\n"
        );
    }
}
