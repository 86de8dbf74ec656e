//! Where builds, hosts and guests are kept: outside the checkout, under the user's cache folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `$XDG_CACHE_HOME/trireme`, or `~/.cache/trireme`.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => std::env::home_dir()
            .context("neither XDG_CACHE_HOME nor HOME is set: set one of them")?
            .join(".cache"),
    };
    Ok(base.join("trireme"))
}

/// The finished programs of this build, as `make build` leaves them.
pub fn dist_bin() -> Result<PathBuf> {
    Ok(cache()?.join("dist/bin"))
}

/// The root of the checkout that this program was built from.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("/"))
}
