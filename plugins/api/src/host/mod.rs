//! Trireme's side: a plugin's file to an adapter.
//!
//! A plugin is code that runs as root, so [`trust`] comes first. What the
//! loaded object then says and returns is checked too: not against malice,
//! which is beyond help once the object is loaded, but against mistakes.

mod adapter;
mod mapped;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trust;

use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use trireme_engine::Adapter;

pub use mapped::mapped;
pub use trust::TrustError;

use crate::abi;
use crate::convert::{Malformed, line};

/// Why a file cannot be used as a plugin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Others than root could have put it there.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The dynamic linker refuses it.
    #[error("{}: cannot be loaded: {reason}", file.display())]
    Load {
        /// The file.
        file: PathBuf,
        /// What the dynamic linker says.
        reason: String,
    },
    /// It exports no table.
    #[error(
        "{}: not an engine: it does not export trireme_plugin_table; name the plugin's own file, not a library of its engine",
        file.display()
    )]
    NoEngine {
        /// The file.
        file: PathBuf,
    },
    /// It is of another major version.
    #[error(
        "{}: made for version {theirs} of the plugin interface, and this is version {ours}; build it again with this Trireme's trireme_plugin.h",
        file.display(), ours = abi::ABI
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// The version it is made for.
        theirs: u32,
    },
    /// Its table lacks functions.
    #[error("{}: its table of functions is {reason}; build it again with this Trireme's trireme_plugin.h", file.display())]
    Table {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What it says of its engine makes no sense.
    #[error("{}: `info`: {reason}; install a correct build of it", file.display())]
    Info {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: Malformed,
    },
}

/// Opens a plugin for as long as the process lives.
///
/// The code of the object runs: before anything of it is checked, its
/// initialisers do. Call this in a process that may crash, and while the host's
/// files are the ones to see.
///
/// # Errors
///
/// When the file is not root's alone, or is no plugin that this build can use.
pub fn open(path: &Path) -> Result<&'static dyn Adapter, OpenError> {
    let file = trust::check(path)?;
    let load = |error: libloading::Error| OpenError::Load {
        file: file.clone(),
        reason: reason(&error, &file),
    };
    // Its real path, all of which root alone can change. Not /proc/self/fd,
    // where $ORIGIN would lead nowhere.
    // SAFETY: root put the code there for this.
    let library = unsafe { Library::open(Some(&file), RTLD_NOW | RTLD_LOCAL) }.map_err(load)?;
    // SAFETY: under this name, a plugin exports its table.
    let symbol = unsafe { library.get::<*const abi::Plugin>(abi::SYMBOL) };
    let Some(address) = symbol.ok().map(|symbol| symbol.into_raw().cast()) else {
        return Err(OpenError::NoEngine { file });
    };
    // Code of the object may be on its way at the end of the process.
    std::mem::forget(library);
    let table = table::read(address).map_err(|wrong| wrong.of(&file))?;
    adapter::of(table, file)
}

/// What the dynamic linker says, without the file's name, which it begins with.
fn reason(error: &libloading::Error, file: &Path) -> String {
    let said = std::error::Error::source(error).map_or(error.to_string(), ToString::to_string);
    let text = line(&said);
    let prefix = format!("{}: ", file.display());
    text.split_once(&prefix)
        .map_or(text.clone(), |(_, reason)| reason.to_owned())
}
