//! The cache's folder, in which programs are built and reports are kept.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `$XDG_CACHE_HOME/trireme` or `~/.cache/trireme`.
///
/// # Errors
///
/// When neither is set.
pub fn folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")));
    let cache = cache.context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("trireme"))
}

/// Where reports are kept; those of quick runs are apart from those that say something.
///
/// # Errors
///
/// As of [`folder`].
pub fn reports(quick: bool) -> Result<PathBuf> {
    let bench = folder()?.join("bench");
    Ok(if quick { bench.join("quick") } else { bench })
}
