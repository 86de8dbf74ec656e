//! This build in a host: a copy of the finished programs at [`FOLDER`], refreshed at every call.
//!
//! Every file is replaced by a rename, so that a shim that still runs keeps its old file and a
//! new one can be started at the same time.

use std::fs::{self, File, FileTimes, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths;

/// Where the programs are in a host, first on its PATH and on its containerd's.
pub const FOLDER: &str = "/opt/trireme/bin";

const SHIM: &str = "containerd-shim-trireme-v1";
/// The handlers that `make install` links the shim under, and one that no configuration knows.
const HANDLERS: [&str; 6] = [
    "wasm",
    "wasmtime",
    "wasm-node",
    "wasmer",
    "wasmedge",
    "nonesuch",
];

/// Brings `folder` (what is mounted at [`FOLDER`]) up to the latest build.
pub fn refresh(folder: &Path) -> Result<()> {
    let dist = paths::dist_bin()?;
    if !dist.join(SHIM).exists() {
        bail!("{} has no {SHIM}: run `make build` first", dist.display());
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for entry in fs::read_dir(&dist).with_context(|| format!("read {}", dist.display()))? {
        let entry = entry?;
        copy_if_changed(&entry.path(), &folder.join(entry.file_name()))?;
    }
    HANDLERS
        .iter()
        .try_for_each(|handler| link(folder, handler).map(drop))
}

/// The shim's name for a handler in a folder with the programs, made where it is missing.
pub fn link(folder: &Path, handler: &str) -> Result<PathBuf> {
    let link = folder.join(format!("containerd-shim-{handler}-v1"));
    match symlink(SHIM, &link) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("link {}", link.display()))
        }
        _ => Ok(link),
    }
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let source = fs::metadata(from).with_context(|| format!("read {}", from.display()))?;
    if !source.is_file() || fs::metadata(to).is_ok_and(|copy| is_same(&source, &copy)) {
        return Ok(());
    }
    let aside = to.with_extension(format!("new-{}", std::process::id()));
    fs::copy(from, &aside).with_context(|| format!("copy {} into the host", from.display()))?;
    let times = FileTimes::new().set_modified(source.modified()?);
    File::options().write(true).open(&aside)?.set_times(times)?;
    fs::rename(&aside, to).with_context(|| format!("rename to {}", to.display()))
}

fn is_same(source: &Metadata, copy: &Metadata) -> bool {
    source.len() == copy.len() && source.modified().ok() == copy.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_changed_file_is_replaced_by_another_inode_and_an_equal_one_is_left() {
        let folder = std::env::temp_dir().join(format!("trireme-install-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (from, to) = (folder.join("from"), folder.join("to"));
        let inode = || fs::metadata(&to).unwrap().ino();
        fs::write(&from, "one").unwrap();
        copy_if_changed(&from, &to).unwrap();
        let first = inode();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(inode(), first);
        fs::write(&from, "another").unwrap();
        copy_if_changed(&from, &to).unwrap();
        let (second, text) = (inode(), fs::read_to_string(&to).unwrap());
        fs::remove_dir_all(&folder).unwrap();
        assert_ne!(second, first);
        assert_eq!(text, "another");
    }
}
