//! What every command takes from the configuration.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use trireme_core::config::{CacheConfig, Config, Loaded, Selected, to_correct};
use trireme_core::request::EngineChoice;
use trireme_engine::Limits;

/// The option that names the configuration.
#[derive(Args)]
pub struct ConfigOption {
    /// The configuration to read [default: /etc/trireme/config.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigOption {
    /// Reads the configuration.
    pub fn load(&self) -> Result<Loaded> {
        Ok(Config::load(self.config.as_deref())?)
    }
}

/// The handler of that name.
pub fn handler(loaded: &Loaded, name: &str) -> Result<Selected> {
    Ok(loaded.config.handler(name, loaded.file.as_deref())?)
}

/// An engine by its own name, with its default settings and no limits.
pub fn engine(loaded: &Loaded, name: &str) -> EngineChoice {
    let engine = loaded.config.engines.get(name);
    EngineChoice {
        handler: name.to_owned(),
        engine: name.to_owned(),
        plugin: engine.and_then(|e| e.plugin.clone()),
        settings: Default::default(),
        limits: Limits::default(),
        config: to_correct(loaded.file.as_deref()),
        plugins: loaded.config.plugins(),
    }
}

/// The cache: root's is the configured one, which containers use too; another
/// user has one in the home folder.
///
/// `None` for a user without a home.
pub fn cache(loaded: &Loaded) -> Option<CacheConfig> {
    let configured = &loaded.config.cache;
    if rustix::process::geteuid().is_root() {
        return Some(configured.clone());
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(CacheConfig {
        dir: base.join("trireme/precompiled"),
        ..configured.clone()
    })
}
