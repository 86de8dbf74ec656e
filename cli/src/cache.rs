//! `trireme cache`.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use serde::Serialize;
use trireme_core::cache::{Cache as Store, Entry};
use trireme_core::config::{Bytes, CacheConfig};

use crate::output;
use crate::settings::{self, ConfigOption};

/// What can be done with the cache.
#[derive(Subcommand)]
pub enum Cache {
    /// List the precompiled code, the most recently used first
    Ls(List),
    /// Remove the least recently used code
    Prune(Prune),
}

/// The arguments of `trireme cache ls`.
#[derive(Args)]
pub struct List {
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOption,
}

/// The arguments of `trireme cache prune`.
#[derive(Args)]
pub struct Prune {
    /// The size to come down to, such as 500MiB [default: the configured one]
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "all")]
    max_size: Option<Bytes>,
    /// Remove everything
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    config: ConfigOption,
}

fn size(text: &str) -> Result<Bytes> {
    text.parse().map_err(|expected: String| anyhow!(expected))
}

impl Cache {
    /// Does what is asked.
    pub fn execute(self) -> Result<()> {
        match self {
            Cache::Ls(list) => list.execute(),
            Cache::Prune(prune) => prune.execute(),
        }
    }
}

fn open(config: &ConfigOption) -> Result<(Store, CacheConfig)> {
    let cache = settings::cache(&config.load()?)
        .context("there is no folder for a cache; set HOME or XDG_CACHE_HOME")?;
    Ok((Store::open(&cache.dir)?, cache))
}

/// An entry as JSON.
#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    wasm: &'a str,
    engine: &'a str,
    /// Bytes.
    size: u64,
    /// Seconds since 1970.
    used: u64,
}

impl List {
    fn execute(self) -> Result<()> {
        let (store, _) = open(&self.config)?;
        let mut entries = store.entries()?;
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        match self.json {
            true => output::print_json(&entries.iter().map(row).collect::<Vec<_>>()),
            false => output::print(&listing(&entries, SystemTime::now())),
        }
    }
}

fn row(entry: &Entry) -> Row<'_> {
    let used = entry
        .used
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    Row {
        key: &entry.key,
        wasm: &entry.wasm,
        engine: &entry.engine,
        size: entry.size,
        used,
    }
}

fn listing(entries: &[Entry], now: SystemTime) -> String {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let age = now.duration_since(entry.used).unwrap_or_default();
            [
                entry.key.clone(),
                entry.engine.clone(),
                output::size(entry.size),
                ago(age),
                format!("sha256:{}", entry.wasm),
            ]
        })
        .collect();
    output::table(["KEY", "ENGINE", "SIZE", "USED", "PROGRAM"], &rows)
}

/// A span of time in its largest unit.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    match units.into_iter().find(|(unit, _)| seconds >= *unit) {
        Some((unit, name)) => format!("{}{name} ago", seconds / unit),
        None => format!("{seconds}s ago"),
    }
}

impl Prune {
    fn execute(self) -> Result<()> {
        let (store, cache) = open(&self.config)?;
        let max_size = match self.all {
            true => 0,
            false => self.max_size.unwrap_or(cache.max_size).0,
        };
        let pruned = store.prune(max_size)?;
        let entries = if pruned.removed == 1 {
            "entry"
        } else {
            "entries"
        };
        output::print(&format!(
            "removed {} {entries}, freed {}\n",
            pruned.removed,
            output::size(pruned.freed)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line() {
        let now = SystemTime::now();
        let entry = Entry {
            key: "k1".into(),
            wasm: "ab".into(),
            engine: "wasmtime".into(),
            size: 2048,
            used: now - Duration::from_secs(7300),
        };
        assert_eq!(
            listing(&[entry], now),
            "KEY  ENGINE    SIZE     USED    PROGRAM\n\
             k1   wasmtime  2.0 KiB  2h ago  sha256:ab\n"
        );
    }

    #[test]
    fn ages_are_in_their_largest_unit() {
        for (seconds, text) in [
            (0, "0s ago"),
            (59, "59s ago"),
            (60, "1m ago"),
            (86_399, "23h ago"),
            (172_800, "2d ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }
}
