//! The interface between Trireme and a WebAssembly engine.
//!
//! An engine reaches Trireme through one [`Adapter`]. The host asks it what it
//! is ([`Adapter::info`]), creates an [`Engine`] from checked settings, has
//! WebAssembly compiled to precompiled code ahead of time
//! ([`Engine::compile`]), loads that code from a descriptor
//! ([`Engine::load`]), has the resulting [`Program`] prepare for its guest
//! ([`Program::prepare`]) and runs it once.
//!
//! The order matters, because of where each call runs:
//!
//! | call | process | privileges | file system |
//! |---|---|---|---|
//! | `info` | any | any | host |
//! | `create` | init, compiler | before they are dropped | host |
//! | `compile` | compiler, a throw-away process | none | an empty `/tmp` of its own |
//! | `load`, `prepare`, `run` | init | none | the container's |
//!
//! Nothing may be opened by path or by `dlopen` from `load` on: by then
//! every path belongs to the container's image. There is no `stop`: a
//! terminating signal ends the init process from its own signal handler.
//!
//! `docs/adding-an-engine.md` walks through a new adapter.

mod guest;
mod info;
mod outcome;
mod refusal;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;

pub use guest::{Directory, Guest, Rights};
pub use info::{Info, Kind, Preview, World};
pub use outcome::Outcome;
pub use refusal::{check_kind, check_limit, check_module, too_much};
pub use settings::{Limit, Limits, Setting, SettingType, SettingValue, Settings, SettingsError};

use std::fs::File;

/// What an engine can fail with before a guest runs.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine refuses a combination of settings or limits.
    #[error("{0}")]
    Settings(String),
    /// The engine cannot run these bytes: malformed, or it needs a feature the
    /// engine lacks or has switched off.
    #[error("{0}")]
    Rejected(String),
    /// An import that the host does not provide, or the entry function is
    /// missing or has a signature that cannot be called.
    #[error("{0}")]
    Link(String),
    /// A limit of the handler does not let the program load.
    #[error("{0}")]
    Limit(String),
    /// Precompiled code that is not this engine build's, or is damaged.
    #[error("precompiled code is unusable: {0}")]
    Precompiled(String),
    /// The engine's own failure, none of the program's doing.
    #[error("{0}")]
    Internal(String),
}

/// A compiled-in or plugged-in engine, before any setting is applied.
pub trait Adapter: Send + Sync {
    /// What the engine is and which settings it takes.
    fn info(&self) -> &Info;

    /// Creates the engine.
    ///
    /// `settings` has been checked against [`Info::settings`] and holds every
    /// declared key; `limits` holds no limit that [`Info::limits`] lacks.
    ///
    /// # Errors
    ///
    /// [`EngineError::Settings`] when the engine refuses a combination of
    /// settings and limits, with the keys in question;
    /// [`EngineError::Internal`] when it cannot start.
    fn create(&self, settings: &Settings, limits: &Limits) -> Result<Box<dyn Engine>, EngineError>;
}

/// An engine with its settings and limits.
pub trait Engine {
    /// Makes now what [`Engine::load`] would make otherwise, for a process that is
    /// copied before each program: tables of imports, for instance. It starts no
    /// thread, keeps no descriptor open, and draws no random number, which all copies
    /// would share.
    ///
    /// # Errors
    ///
    /// As [`Engine::load`], of which the program is no cause.
    fn warm_up(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Whether the engine would take these bytes, judged without compiling.
    ///
    /// # Errors
    ///
    /// [`EngineError::Rejected`] with the reason when it would not.
    fn accepts(&self, wasm: &[u8], kind: Kind) -> Result<(), EngineError>;

    /// Compiles WebAssembly into precompiled code for this engine build, these
    /// settings and this processor.
    ///
    /// An engine that only interprets returns its input.
    ///
    /// # Errors
    ///
    /// [`EngineError::Rejected`] when the bytes are not a valid program.
    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError>;

    /// Loads precompiled code and resolves `entry`, so that everything that
    /// can fail before the first instruction has failed or succeeded.
    ///
    /// `entry` is the exported function to call; `None` is the kind's own
    /// entry point (`_start`, or `run` of `wasi:cli/run`).
    ///
    /// # Safety
    ///
    /// `code` must hold what [`Engine::compile`] of the same engine build
    /// returned under the same settings, and nobody may change it while the
    /// program lives: most engines run its bytes as native code.
    ///
    /// # Errors
    ///
    /// [`EngineError::Precompiled`] for code of another build,
    /// [`EngineError::Link`] for a missing import or entry function.
    unsafe fn load(
        &self,
        code: File,
        kind: Kind,
        entry: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError>;
}

/// A loaded program, ready to run once.
pub trait Program {
    /// Makes now what [`Program::run`] of the same guest would make otherwise, before any
    /// instruction of the program: its WASI, for instance. A container waits between its creation
    /// and its start, and this is done meanwhile, without privileges and in the container's file
    /// system as that. What fails here fails in `run`.
    fn prepare(&mut self, guest: &Guest) {
        let _ = guest;
    }

    /// Runs the program to its end with the caller's own stdin, stdout and
    /// stderr (descriptors 0, 1 and 2).
    fn run(self: Box<Self>, guest: Guest) -> Outcome;
}
