//! `trireme compile`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use trireme_core::config::CacheConfig;
use trireme_core::message;
use trireme_core::request::{EngineChoice, PrecompileReport, PrecompileRequest};

use crate::run::check_program;
use crate::settings::{self, ConfigOption};
use crate::{executor, output};

/// The arguments of `trireme compile`.
#[derive(Args)]
pub struct Compile {
    /// The programs
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The handler to compile for: its engine, settings and limits
    #[arg(long, default_value = "wasm")]
    handler: String,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOption,
}

/// What is printed of one file as JSON.
#[derive(Serialize)]
struct Compiled {
    file: PathBuf,
    #[serde(flatten)]
    report: PrecompileReport,
}

impl Compile {
    /// Compiles one file after the other. A file that fails does not keep the
    /// others from being compiled.
    pub fn execute(self) -> Result<()> {
        let loaded = self.config.load()?;
        let engine = settings::handler(&loaded, &self.handler)?.engine_choice();
        let cache = settings::cache(&loaded)
            .context("there is no folder for a cache; set HOME or XDG_CACHE_HOME")?;
        let bar = progress(self.files.len());
        let mut done = Vec::new();
        let mut failed = 0;
        for file in &self.files {
            bar.set_message(file.display().to_string());
            match compile(&engine, &cache, file) {
                Ok(compiled) if self.json => done.push(compiled),
                Ok(compiled) => bar.suspend(|| output::print(&line(&compiled)))?,
                Err(error) => {
                    failed += 1;
                    bar.suspend(|| {
                        eprintln!(
                            "trireme: {}: {}",
                            file.display(),
                            message::of(error.as_ref())
                        )
                    });
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if self.json {
            output::print_json(&done)?;
        }
        match failed {
            0 => Ok(()),
            _ => bail!(
                "{failed} of {} programs could not be compiled",
                self.files.len()
            ),
        }
    }
}

fn compile(engine: &EngineChoice, cache: &CacheConfig, file: &Path) -> Result<Compiled> {
    check_program(file)?;
    let report = executor::ask(
        "precompile",
        &PrecompileRequest {
            engine: engine.clone(),
            file: file.to_owned(),
            cache: cache.clone(),
        },
    )?;
    Ok(Compiled {
        file: file.to_owned(),
        report,
    })
}

fn line(compiled: &Compiled) -> String {
    let PrecompileReport {
        wasm,
        key,
        size,
        cached,
    } = &compiled.report;
    let state = if *cached {
        "was there already"
    } else {
        "compiled"
    };
    let file = compiled.file.display();
    format!(
        "{file}: sha256:{wasm} key {key}, {}, {state}\n",
        output::size(*size)
    )
}

/// A bar on standard error; nothing where that is not a terminal.
fn progress(files: usize) -> ProgressBar {
    let bar = ProgressBar::new(files as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
