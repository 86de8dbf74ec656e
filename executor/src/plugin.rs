//! Engines from plugins.
//!
//! What a plugin loads beyond itself counts too: whoever could change a library
//! of it could change what root runs, and a compiler in a library that the key
//! of its code does not name would be taken for another after an update. So the
//! libraries are looked up before, and compared with what was loaded after.

use std::fs::File;
use std::path::{Path, PathBuf};

use trireme_core::build_id::{self, BuildIdError};
use trireme_core::request::EngineChoice;
use trireme_engine::{Adapter, Engine, EngineError, Info, Kind, Limits, Program, Settings};
use trireme_plugin::host::{self, OpenError, TrustError, trust};

use crate::deadline;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Others could have changed a library that it needs.
    #[error("{}: needs {source}", file.display())]
    Library {
        /// The plugin.
        file: PathBuf,
        /// What is wrong with the library.
        source: TrustError,
    },
    /// A library that it needs is not there.
    #[error(transparent)]
    Needs(#[from] BuildIdError),
    /// It loads what it does not say that it needs.
    #[error(
        "{}: loads {}, which is not the library that the system has for it; unset LD_LIBRARY_PATH and LD_PRELOAD, or \
         link the plugin with it",
        file.display(), library.display()
    )]
    Unforeseen {
        /// The plugin.
        file: PathBuf,
        /// The library.
        library: PathBuf,
    },
    /// It holds another engine.
    #[error("{}: holds the engine \"{found}\"; configure it as [engines.{found}]", file.display())]
    Name {
        /// The plugin.
        file: PathBuf,
        /// The engine's name.
        found: &'static str,
    },
}

/// Opens the plugin that holds an engine, for as long as the process lives.
/// Where it does not answer, the message says by which choice it was to be used, if by one.
pub fn open(
    engine: &str,
    file: &Path,
    choice: Option<&EngineChoice>,
) -> Result<&'static dyn Adapter, PluginError> {
    let late = Late {
        choice: choice.cloned(),
        file: file.to_owned(),
    };
    let adapter = deadline::within(&late.message("opening it"), || load(file))?;
    let found = adapter.info().name;
    if found != engine {
        return Err(PluginError::Name {
            file: file.into(),
            found,
        });
    }
    Ok(Box::leak(Box::new(Timed { adapter, late })))
}

fn load(file: &Path) -> Result<&'static dyn Adapter, PluginError> {
    let real = trust::check(file).map_err(OpenError::from)?;
    let libraries = build_id::libraries(&real)?;
    for library in &libraries {
        trust::check(library).map_err(|source| PluginError::Library {
            file: file.into(),
            source,
        })?;
    }
    let before = host::mapped();
    let adapter = host::open(file)?;
    let is_foreseen = |library: &PathBuf| {
        let path = library.canonicalize().unwrap_or_else(|_| library.clone());
        path == real || libraries.contains(&path) || build_id::is_runtime(&path)
    };
    let loaded = host::mapped();
    match loaded
        .into_iter()
        .find(|library| !before.contains(library) && !is_foreseen(library))
    {
        None => Ok(adapter),
        Some(library) => Err(PluginError::Unforeseen {
            file: file.into(),
            library,
        }),
    }
}

/// What is said of a plugin that does not answer.
#[derive(Clone)]
struct Late {
    choice: Option<EngineChoice>,
    file: PathBuf,
}

impl Late {
    fn message(&self, what: &str) -> String {
        let reason = format!(
            "{}: {what} took more than {} s; install a correct build of it",
            self.file.display(),
            deadline::LIMIT.as_secs()
        );
        match &self.choice {
            Some(choice) => choice.unusable(&reason),
            None => format!("the plugin {reason}"),
        }
    }
}

/// An adapter whose calls may not take for ever.
struct Timed {
    adapter: &'static dyn Adapter,
    late: Late,
}

impl Adapter for Timed {
    fn info(&self) -> &Info {
        self.adapter.info()
    }

    fn create(&self, settings: &Settings, limits: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        let engine = deadline::within(&self.late.message("`create`"), || {
            self.adapter.create(settings, limits)
        })?;
        Ok(Box::new(TimedEngine {
            engine,
            late: self.late.clone(),
        }))
    }
}

struct TimedEngine {
    engine: Box<dyn Engine>,
    late: Late,
}

impl Engine for TimedEngine {
    fn accepts(&self, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
        deadline::within(&self.late.message("`accepts`"), || {
            self.engine.accepts(wasm, kind)
        })
    }

    /// Whoever waits for a compiler has a limit of its own.
    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
        self.engine.compile(wasm, kind)
    }

    unsafe fn load(
        &self,
        code: File,
        kind: Kind,
        entry: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError> {
        deadline::within(&self.late.message("`load`"), || {
            // SAFETY: the caller vouches for the code.
            unsafe { self.engine.load(code, kind, entry) }
        })
    }
}
