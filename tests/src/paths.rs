//! Where builds, hosts and guests are kept: outside the checkout, under the user's cache folder.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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

/// The plugins of this build, as `make build` leaves them.
pub fn dist_plugins() -> Result<PathBuf> {
    Ok(cache()?.join("dist/lib/trireme/engines"))
}

/// The root of the checkout: of the package that cargo runs, or else of the one that this program
/// was built from. Programs of two checkouts may share a target folder, and cargo does not tell
/// them apart.
pub fn checkout() -> &'static Path {
    static CHECKOUT: OnceLock<PathBuf> = OnceLock::new();
    CHECKOUT.get_or_init(|| {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = package
            .ancestors()
            .find(|folder| folder.join("Cargo.lock").exists());
        root.unwrap_or(&package).to_owned()
    })
}
