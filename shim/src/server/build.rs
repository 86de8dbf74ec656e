//! The build of a server's engine, by which precompiled code is filed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use trireme_core::cache::FileIdentity;
use trireme_core::{build_id, message};

use super::process::lock;
use crate::order::Order;

/// Which files the dynamic linker takes for which library (ldconfig(8)).
const LINKER_CACHE: &str = "/etc/ld.so.cache";

/// The build of the engine that guests have which begin now. The executor's own engines stay as
/// they are, since the server has it open; a plugin and the libraries that it needs may be
/// replaced while the server lives, by files that every new process has.
pub(super) struct EngineBuild {
    plugin: Option<PathBuf>,
    executor: PathBuf,
    known: Mutex<Option<Known>>,
}

struct Known {
    /// What was looked at, as it was before.
    files: Vec<(PathBuf, Option<FileIdentity>)>,
    id: Result<String, String>,
}

impl EngineBuild {
    pub fn of(order: &Order, executor: &Path) -> Self {
        EngineBuild {
            plugin: order.engine.plugin.clone(),
            executor: executor.to_owned(),
            known: Mutex::default(),
        }
    }

    /// What identifies it, or why nothing does.
    pub fn id(&self) -> Result<String, String> {
        let mut known = lock(&self.known);
        match &*known {
            Some(known) if known.id.is_ok() && known.is_current() => known.id.clone(),
            _ => known.insert(self.look()).id.clone(),
        }
    }

    /// The same of a plugin that there is.
    pub fn of_plugin(&self) -> Option<String> {
        self.plugin.as_ref().and_then(|_| self.id().ok())
    }

    fn look(&self) -> Known {
        let plugin = self.plugin.as_deref();
        let files = plugin.map(|plugin| {
            let libraries = build_id::libraries(plugin).unwrap_or_default();
            let others = [plugin.to_owned(), LINKER_CACHE.into()];
            // A link to another file is a change of its folder.
            let folders = libraries.iter().filter_map(|file| file.parent());
            let folders: Vec<_> = folders.map(Path::to_owned).collect();
            let files = libraries.into_iter().chain(folders).chain(others);
            files.map(|path| (identity(&path), path))
        });
        let files = files.into_iter().flatten();
        Known {
            files: files.map(|(identity, path)| (path, identity)).collect(),
            id: build_id::of_engine(plugin, &self.executor).map_err(|error| message::of(&error)),
        }
    }
}

impl Known {
    fn is_current(&self) -> bool {
        let mut files = self.files.iter();
        files.all(|(path, seen)| identity(path) == *seen)
    }
}

fn identity(path: &Path) -> Option<FileIdentity> {
    let metadata = fs::metadata(path).ok()?;
    Some(FileIdentity::of(&metadata))
}
