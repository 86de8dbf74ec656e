//! Images, as folders.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command;

/// An image whose files can be read; it is unmounted when this is dropped.
pub struct Image {
    namespace: &'static str,
    folder: TempDir,
}

impl Image {
    /// Mounts an image of a namespace of containerd's.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn mount(namespace: &'static str, image: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for an image")?;
        let mut mount = Command::new("ctr");
        mount.args(["--namespace", namespace, "image", "mount", image]);
        command::run(mount.arg(folder.path()))?;
        Ok(Self { namespace, folder })
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let done = Command::new("ctr")
            .args(["--namespace", self.namespace, "image", "unmount", "--rm"])
            .arg(self.path())
            .stdout(Stdio::null())
            .status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("bench: {} may still be mounted", self.path().display());
        }
    }
}
