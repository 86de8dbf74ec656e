//! What one program asks of `trireme-executor`, as JSON on an inherited
//! descriptor.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trireme_engine::{Kind, Limits, SettingValue};

use crate::config::CacheConfig;

/// An engine as a handler wants it. Only the executor knows what the engine
/// declares, so it is the executor that checks the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineChoice {
    /// The handler it was chosen for, for messages.
    pub handler: String,
    /// The engine's name.
    pub engine: String,
    /// The plugin that holds it, or `None` for an engine linked in.
    pub plugin: Option<PathBuf>,
    /// The handler's settings as configuration gives them.
    pub settings: BTreeMap<String, SettingValue>,
    /// The handler's limits.
    pub limits: Limits,
    /// The file to correct where the engine cannot be had.
    pub config: PathBuf,
    /// The engines that this file names plugins for, for messages.
    pub plugins: Vec<String>,
}

/// The status of a process that SIGKILL has ended.
const KILLED: u32 = 128 + 9;
/// The same of SIGTERM.
const TERMINATED: u32 = 128 + 15;

impl EngineChoice {
    /// Why the engine of the choice cannot be had, with what names it: the
    /// handler, the engine and, for a plugin, where it is configured.
    pub fn unusable(&self, reason: &str) -> String {
        let (handler, engine, config) = (&self.handler, &self.engine, self.config.display());
        match self.plugin {
            None => format!("handler \"{handler}\": engine \"{engine}\": {reason}"),
            Some(_) => format!(
                "handler \"{handler}\": engine \"{engine}\": the plugin {reason} \
                 ([engines.{engine}] plugin in {config})"
            ),
        }
    }

    /// What went wrong with something, `what`, with all that names it. A reason that begins with the
    /// handler, as those of what is wrong with the engine itself do, names handler and engine.
    pub fn naming(&self, what: &str, reason: &str) -> String {
        let handler = format!("handler \"{}\"", self.handler);
        match reason.starts_with(&handler) {
            true => format!("{what}{reason}"),
            false => format!("{handler}, engine {}: {what}{reason}", self.engine),
        }
    }

    /// Why a process in which the engine worked ended unasked, with a status as of a shell: a
    /// plugin may have crashed it, unless somebody killed it.
    pub fn lost(&self, process: &str, status: u32) -> String {
        let how = format!("{process} ended with status {status}");
        match &self.plugin {
            Some(plugin) if ![KILLED, TERMINATED].contains(&status) => self.unusable(&format!(
                "{} may have crashed: {how}; use another build of it",
                plugin.display()
            )),
            _ => how,
        }
    }

    /// What of the choice decides which code the engine's compiler makes, as
    /// canonical text for cache keys. The build id of the compiler stands for
    /// the defaults of what is not set.
    pub fn canonical(&self) -> String {
        use std::fmt::Write as _;
        let mut text = self.limits.canonical();
        for (key, value) in &self.settings {
            let _ = writeln!(text, "{key}={value}");
        }
        text
    }
}

/// `trireme-executor run`: runs a program in this process, outside any
/// container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRequest {
    /// The engine.
    pub engine: EngineChoice,
    /// The program's file.
    pub file: PathBuf,
    /// The exported function to call instead of the kind's own entry point.
    pub invoke: Option<String>,
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Directories the guest sees.
    pub directories: Vec<SharedDirectory>,
    /// The cache of precompiled code, or `None` to compile in memory.
    pub cache: Option<CacheConfig>,
}

/// `trireme-executor precompile`: fills the cache ahead of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrecompileRequest {
    /// The engine.
    pub engine: EngineChoice,
    /// The program's file.
    pub file: PathBuf,
    /// The cache that the code goes to.
    pub cache: CacheConfig,
}

/// What `trireme-executor precompile` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrecompileReport {
    /// SHA-256 of the program, in hexadecimal.
    pub wasm: String,
    /// What the code is filed under in the cache.
    pub key: String,
    /// The length of the code in bytes.
    pub size: u64,
    /// Whether it was there already.
    pub cached: bool,
}

/// `trireme-executor probe`: says which engines there are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// The plugins to look at besides the engines linked in, by engine.
    pub plugins: BTreeMap<String, PathBuf>,
}

/// A directory of the host that a guest sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedDirectory {
    /// Where it is.
    pub host: PathBuf,
    /// What the guest calls it.
    pub guest: String,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

/// What `trireme-executor probe` prints for each engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EngineReport {
    /// The name by which configuration selects it.
    pub name: String,
    /// Where it is: `linked in` or the plugin's path.
    pub origin: String,
    /// What it says of itself, or why it is not there.
    #[serde(flatten)]
    pub state: EngineState,
}

/// Whether an engine is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum EngineState {
    /// It can be used.
    Ready {
        /// The engine's version.
        version: String,
        /// Kinds of WebAssembly it takes.
        kinds: Vec<Kind>,
        /// Levels of WASI.
        wasi: Vec<String>,
        /// Limits it enforces.
        limits: Vec<String>,
        /// Its settings.
        settings: Vec<SettingReport>,
        /// Identifies the build that holds the compiler.
        build: String,
    },
    /// It cannot be used.
    Missing {
        /// Why, and what to do.
        reason: String,
    },
}

/// A setting as `probe` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SettingReport {
    /// The key in configuration.
    pub key: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its default.
    pub default: String,
    /// One line on what it does.
    pub doc: String,
}
