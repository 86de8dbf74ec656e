//! From a handler's name to its engine and settings.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Config, Handler, error::nearest};
use crate::request::EngineChoice;

/// A handler that was found, with its engine's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// The handler's name.
    pub name: String,
    /// What it says: engine, server mode, network, limits and settings.
    pub handler: Handler,
    /// The plugin that holds the engine, or `None` for one linked in.
    pub plugin: Option<PathBuf>,
    /// Where the configuration was read from, or would be.
    pub file: PathBuf,
    /// The engines that it names plugins for.
    pub plugins: Vec<String>,
}

impl Selected {
    /// What the executor is asked for.
    pub fn engine_choice(&self) -> EngineChoice {
        EngineChoice {
            handler: self.name.clone(),
            engine: self.handler.engine.clone(),
            plugin: self.plugin.clone(),
            settings: self.handler.settings.clone(),
            limits: self.handler.limits.engine(),
            config: self.file.clone(),
            plugins: self.plugins.clone(),
        }
    }
}

/// Why no handler was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no handler \"{name}\"{}; {source_name} has: {known}. Add [handlers.{name}] to {} or choose \
     another handler",
    suggestion(near.as_deref()),
    remedy.display()
)]
pub struct SelectError {
    name: String,
    near: Option<String>,
    source_name: String,
    known: String,
    remedy: PathBuf,
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!(" (did you mean \"{near}\"?)"))
        .unwrap_or_default()
}

impl Config {
    /// Looks a handler up; `file` is where the configuration was read from, if
    /// from a file, for the message.
    ///
    /// # Errors
    ///
    /// When there is no handler of that name.
    pub fn handler(&self, name: &str, file: Option<&Path>) -> Result<Selected, SelectError> {
        let Some(handler) = self.handlers.get(name) else {
            return Err(self.no_handler(name, file));
        };
        let engine = self.engines.get(&handler.engine);
        Ok(Selected {
            name: name.to_owned(),
            handler: handler.clone(),
            plugin: engine.and_then(|e| e.plugin.clone()),
            file: to_correct(file),
            plugins: self.plugins(),
        })
    }

    /// The engines that plugins are named for.
    pub fn plugins(&self) -> Vec<String> {
        let named = self
            .engines
            .iter()
            .filter(|(_, engine)| engine.plugin.is_some());
        named.map(|(name, _)| name.clone()).collect()
    }

    fn no_handler(&self, name: &str, file: Option<&Path>) -> SelectError {
        let known: Vec<&str> = self.handlers.keys().map(String::as_str).collect();
        SelectError {
            name: name.to_owned(),
            near: nearest(name, &known).map(str::to_owned),
            source_name: match file {
                Some(file) => file.display().to_string(),
                None => "the built-in default".to_owned(),
            },
            known: known.join(", "),
            remedy: to_correct(file),
        }
    }
}

/// The file to correct where the configuration came from `file`, or from none.
pub fn to_correct(file: Option<&Path>) -> PathBuf {
    file.unwrap_or(Path::new(super::DEFAULT_PATH)).to_owned()
}

/// The handler in the name under which containerd starts the shim:
/// `containerd-shim-wasmedge-v1` is started for `io.containerd.wasmedge.v1`
/// and means `wasmedge`.
///
/// `None` for a program of another name.
pub fn handler_from_program(argv0: &OsStr) -> Option<&str> {
    let name = Path::new(argv0).file_name()?.to_str()?;
    let (handler, version) = name.strip_prefix("containerd-shim-")?.rsplit_once("-v")?;
    let numbered = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    (numbered && !handler.is_empty()).then_some(handler)
}
