//! Configuration: `config.toml` and what a container's runtime entry adds.
//!
//! The file is read on every container start by a small program, so this is
//! serde and a TOML parser and nothing else. What the file does not mention
//! keeps its default; the defaults are those of the repository's
//! `config.toml`, which a test holds equal to [`Config::default`].

mod error;
mod options;
mod select;
mod units;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trireme_engine::{Limits, SettingValue};

pub use error::ConfigError;
pub use options::RuntimeOptions;
pub use select::{SelectError, Selected, handler_from_program, to_correct};
pub use units::Bytes;

/// Where the configuration is read from when no other file is named.
pub const DEFAULT_PATH: &str = "/etc/trireme/config.toml";

/// The largest file that is read, in bytes.
pub const MAX_SIZE: u64 = 1 << 20;

/// All of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Engines that are not linked into the executor, or not to be taken from
    /// there, by name.
    #[serde(default, deserialize_with = "units::named")]
    pub engines: BTreeMap<String, EngineConfig>,
    /// What containers may ask for, by name.
    #[serde(default, deserialize_with = "units::named")]
    pub handlers: BTreeMap<String, Handler>,
    /// The cache of precompiled code.
    #[serde(default)]
    pub cache: CacheConfig,
    /// The processes that answer containerd.
    #[serde(default)]
    pub server: ServerConfig,
}

/// Where an engine comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// The shared object that holds it, an absolute path; `None` for the
    /// engine of this name linked into the executor.
    #[serde(deserialize_with = "units::optional_absolute")]
    pub plugin: Option<PathBuf>,
}

/// What a container gets that asks for one handler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handler {
    /// The engine that runs the program.
    #[serde(deserialize_with = "units::name")]
    pub engine: String,
    /// How many pods one server answers for.
    #[serde(default)]
    pub server: ServerMode,
    /// What the guest sees of the network.
    #[serde(default)]
    pub network: Network,
    /// The host's limits.
    #[serde(default)]
    pub limits: HandlerLimits,
    /// The engine's own settings; the executor checks them against what the
    /// engine declares.
    #[serde(default, deserialize_with = "units::settings")]
    pub settings: BTreeMap<String, SettingValue>,
}

impl Handler {
    /// A handler with nothing but its engine.
    pub fn new(engine: impl Into<String>) -> Self {
        Handler {
            engine: engine.into(),
            server: ServerMode::default(),
            network: Network::default(),
            limits: HandlerLimits::default(),
            settings: BTreeMap::new(),
        }
    }
}

/// How many pods one server answers for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerMode {
    /// One: its death touches one pod.
    #[default]
    PerPod,
    /// Every pod of the handler on this node.
    PerNode,
}

/// What the guest sees of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The container's network.
    #[default]
    Container,
    /// Nothing: the engine offers no sockets.
    None,
}

/// The host's limits on every program of a handler, and on its compilation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HandlerLimits {
    /// Bytes of each linear memory; `None` leaves it to the engine.
    pub memory: Option<Bytes>,
    /// Elements of each table; `None` leaves it to the engine.
    pub table: Option<u64>,
    /// Bytes of the stack of WebAssembly code; `None` leaves it to the engine.
    pub stack: Option<Bytes>,
    /// Units of work; `None` does not count them.
    pub fuel: Option<u64>,
    /// How long a compilation may take.
    #[serde(
        deserialize_with = "units::positive_duration",
        serialize_with = "units::write_duration"
    )]
    pub compile_timeout: Duration,
    /// Bytes of memory a compilation may use.
    #[serde(deserialize_with = "units::positive_bytes")]
    pub compile_memory: Bytes,
}

impl HandlerLimits {
    /// The limits that the engine enforces.
    pub fn engine(&self) -> Limits {
        Limits {
            memory: self.memory.map(|b| b.0),
            table: self.table,
            stack: self.stack.map(|b| b.0),
            fuel: self.fuel,
        }
    }
}

impl Default for HandlerLimits {
    fn default() -> Self {
        HandlerLimits {
            memory: None,
            table: None,
            stack: None,
            fuel: None,
            compile_timeout: Duration::from_secs(60),
            compile_memory: Bytes(2 << 30),
        }
    }
}

/// The cache of precompiled code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Its folder, an absolute path.
    #[serde(deserialize_with = "units::absolute")]
    pub dir: PathBuf,
    /// Bytes it may hold; beyond them the least recently used goes first.
    pub max_size: Bytes,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig {
            dir: "/var/lib/trireme/cache".into(),
            max_size: Bytes(2 << 30),
        }
    }
}

/// The processes that answer containerd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// How long a per-node server outlives its last container.
    #[serde(
        deserialize_with = "units::duration",
        serialize_with = "units::write_duration"
    )]
    pub idle_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            idle_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            engines: BTreeMap::new(),
            handlers: built_in_handlers(),
            cache: CacheConfig::default(),
            server: ServerConfig::default(),
        }
    }
}

fn built_in_handlers() -> BTreeMap<String, Handler> {
    let handler = Handler::new("wasmtime");
    let per_node = Handler {
        server: ServerMode::PerNode,
        ..handler.clone()
    };
    BTreeMap::from([
        ("trireme".into(), handler.clone()),
        ("wasm".into(), handler.clone()),
        ("wasm-node".into(), per_node),
        ("wasmer".into(), Handler::new("wasmer")),
        ("wasmtime".into(), handler),
    ])
}

/// A configuration and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file that was read, or `None` for the built-in defaults.
    pub file: Option<PathBuf>,
    /// The file as it was read, empty for the built-in defaults: what a server
    /// is keyed by and handed.
    pub bytes: Vec<u8>,
}

impl Config {
    /// Reads the text of a configuration file; `file` is named in messages.
    ///
    /// A handler of the file replaces the built-in one of its name entirely;
    /// the other built-in handlers stay.
    ///
    /// # Errors
    ///
    /// For text that is not TOML, an unknown key and a bad value, with the
    /// line.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut config: Config =
            toml::from_str(text).map_err(|e| ConfigError::invalid(file, text, &e))?;
        let given = std::mem::replace(&mut config.handlers, built_in_handlers());
        config.handlers.extend(given);
        Ok(config)
    }

    /// Reads `path`, or [`DEFAULT_PATH`] where it exists, or takes the
    /// built-in defaults.
    ///
    /// # Errors
    ///
    /// When a named file cannot be read, and as [`Config::parse`].
    pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigError> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let bytes = match (read(file), path) {
            (Err(ConfigError::Read { source, .. }), None)
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(Loaded {
                    config: Config::default(),
                    file: None,
                    bytes: Vec::new(),
                });
            }
            (bytes, _) => bytes?,
        };
        let text = str::from_utf8(&bytes).map_err(|_| ConfigError::NotText {
            file: file.to_owned(),
        })?;
        let config = Config::parse(text, file)?;
        Ok(Loaded {
            config,
            file: Some(file.to_owned()),
            bytes,
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |source| ConfigError::Read {
        file: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|f| f.take(MAX_SIZE + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(ConfigError::TooLarge {
            file: file.to_owned(),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
