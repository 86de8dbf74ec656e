//! The guest's directories as WasmEdge takes them: by path.
//!
//! A path means another thing here than where the directory was opened, so one
//! is looked for that leads to that very directory.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, statx};
use trireme_engine::{Directory, Rights};

/// A directory in the words of WasmEdge: its name for the guest, a path of the
/// host, and `readonly` where it is.
pub(crate) fn preopen(cwd: &str, directory: &Directory) -> Result<CString, String> {
    let Directory { dir, name, rights } = directory;
    if name.contains(':') {
        return Err(format!(
            "{name}: WasmEdge takes no directory with a \":\" in its name"
        ));
    }
    let own = format!("/proc/self/fd/{}/.", dir.as_raw_fd());
    let candidates = [Path::new("/").join(cwd).join(name), own.into()];
    let path = candidates
        .iter()
        .filter_map(|path| path.to_str())
        .filter(|path| !path.contains(':'))
        .find(|path| is_same(path, dir))
        .ok_or_else(|| format!("{name}: no path leads to it"))?;
    let rights = match rights {
        Rights::ReadOnly => ":readonly",
        Rights::ReadWrite => "",
    };
    CString::new(format!("{name}:{path}{rights}")).map_err(|error| format!("{name}: {error}"))
}

/// Whether a path leads to a directory, on the same mount.
fn is_same(path: &str, dir: &impl std::os::fd::AsFd) -> bool {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let identity = |stat: Statx| {
        (
            stat.stx_dev_major,
            stat.stx_dev_minor,
            stat.stx_ino,
            stat.stx_mnt_id,
        )
    };
    let there = statx(CWD, path, AtFlags::empty(), wanted);
    let open = statx(dir, "", AtFlags::EMPTY_PATH, wanted);
    matches!((there, open), (Ok(there), Ok(open)) if identity(there) == identity(open))
}
