//! Being told that a container has run out of memory: on v1 an eventfd at
//! `memory.oom_control` (`admin-guide/cgroup-v1/memory.rst`, "OOM Control"), on v2
//! a file that changes (`cgroup-v2.rst`, `memory.events`).

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::event::EventfdFlags;

use super::{Cgroup, Version};
use crate::{Doing, SysError};

/// What tells of it. The news may be older than the count of what was killed.
#[derive(Debug)]
pub struct MemoryNews {
    file: File,
    version: Version,
}

impl Cgroup {
    /// Asks the kernel to tell of want of memory.
    ///
    /// # Errors
    ///
    /// When the host has no memory controller, or the cgroup is gone.
    pub fn memory_news(&self) -> Result<MemoryNews, SysError> {
        let what = || format!("watch the memory of {}", self.path().display());
        let folder = self
            .controller("memory")
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            .doing(what)?;
        let file = match self.version {
            Version::V1 => {
                let news =
                    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                        .doing(what)?;
                let control = File::open(folder.join("memory.oom_control")).doing(what)?;
                let line = format!("{} {}", news.as_raw_fd(), control.as_raw_fd());
                fs::write(folder.join("cgroup.event_control"), line).doing(what)?;
                File::from(news)
            }
            Version::V2 => File::open(folder.join("memory.events")).doing(what)?,
        };
        let mut news = MemoryNews {
            file,
            version: self.version,
        };
        news.take().doing(what)?;
        Ok(news)
    }
}

impl MemoryNews {
    /// Whether it is the priority of the descriptor that says that there are news.
    #[must_use]
    pub fn is_by_priority(&self) -> bool {
        self.version == Version::V2
    }

    /// Takes note of what has come; news are what comes after this.
    ///
    /// # Errors
    ///
    /// When the cgroup is gone.
    pub fn take(&mut self) -> io::Result<()> {
        if self.version == Version::V2 {
            self.file.rewind()?;
            return self.file.read_to_string(&mut String::new()).map(drop);
        }
        match self.file.read(&mut [0; 8]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other.map(drop),
        }
    }
}

impl AsFd for MemoryNews {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for MemoryNews {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
