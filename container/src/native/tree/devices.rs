//! What is in `/dev` (`config-linux.md`, "Default Devices"; the links as in
//! `runtime-linux.md`, "Dev symbolic links").

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use trireme_core::spec::oci::{LinuxDevice, LinuxDeviceType};

use super::order::{DEV, below};
use crate::init::mounting::make_dirs;
use crate::{Doing, SysError};

/// Names and numbers of the character devices that every container has.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Anybody may read and write.
const OPEN: u32 = 0o666;

struct Node {
    path: PathBuf,
    kind: FileType,
    number: u64,
    mode: u32,
    owner: (u32, u32),
}

/// Makes the devices of a specification, those that every container has, and the
/// links, in a folder that nobody else sees. Of two of a name the first counts.
pub(super) fn make(dev: BorrowedFd<'_>, asked: &[LinuxDevice]) -> Result<(), SysError> {
    for node in asked.iter().filter_map(Node::of).chain(Node::every()) {
        node.make(dev)
            .doing(|| format!("make the device {DEV}{}", node.path.display()))?;
    }
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            error => return error.doing(|| format!("make the link {DEV}/{name}")),
        }
    }
    Ok(())
}

impl Node {
    fn of(device: &LinuxDevice) -> Option<Self> {
        let number = |number: i64| u32::try_from(number).unwrap_or_default();
        let (major, minor) = (number(device.major()), number(device.minor()));
        Some(Node {
            path: below(device.path(), Path::new(DEV))?,
            kind: match device.typ() {
                LinuxDeviceType::B => FileType::BlockDevice,
                LinuxDeviceType::P => FileType::Fifo,
                _ => FileType::CharacterDevice,
            },
            number: rustix::fs::makedev(major, minor),
            mode: device.file_mode().unwrap_or(OPEN),
            owner: (
                device.uid().unwrap_or_default(),
                device.gid().unwrap_or_default(),
            ),
        })
    }

    fn every() -> impl Iterator<Item = Self> {
        DEFAULT.into_iter().map(|(name, major, minor)| Node {
            path: Path::new("/").join(name),
            kind: FileType::CharacterDevice,
            number: rustix::fs::makedev(major, minor),
            mode: OPEN,
            owner: (0, 0),
        })
    }

    fn make(&self, dev: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(Errno::INVAL);
        };
        let folder = make_dirs(dev, folder)?;
        let mode = Mode::from_raw_mode(self.mode & 0o7777);
        match rustix::fs::mknodat(&folder, name, self.kind, mode, self.number) {
            Err(Errno::EXIST) => return Ok(()),
            made => made?,
        }
        let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        rustix::fs::chownat(
            &folder,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        // The mask of this process does not count.
        rustix::fs::chmodat(&folder, name, mode, AtFlags::empty())
    }
}
