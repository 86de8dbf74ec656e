//! Files in memory that nobody can change any more (`memfd_create(2)`): what is
//! handed from one process to another, of any size.

use std::fs::File;
use std::io::{self, Seek, Write};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use serde::Serialize;

/// What a reader may do with a file's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Read them.
    Data,
    /// Map them as code.
    Code,
}

/// A value as JSON, from its beginning, closed on exec.
///
/// # Errors
///
/// When the kernel has no memory to give.
pub fn sealed_json<T: Serialize>(name: &str, value: &T) -> io::Result<File> {
    sealed(name, &serde_json::to_vec(value)?, Pages::Data)
}

/// Bytes, from their beginning, closed on exec. `name` is for `/proc` alone.
///
/// # Errors
///
/// When the kernel has no memory to give.
pub fn sealed(name: &str, bytes: &[u8], pages: Pages) -> io::Result<File> {
    let mut file = Unsealed::new(name, pages)?;
    file.write_all(bytes)?;
    file.seal()
}

/// A file that is still written to.
#[derive(Debug)]
pub struct Unsealed(File);

impl Unsealed {
    /// An empty one. `name` is for `/proc` alone.
    ///
    /// # Errors
    ///
    /// When the kernel has no memory to give.
    pub fn new(name: &str, pages: Pages) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let wanted = match pages {
            Pages::Data => MemfdFlags::NOEXEC_SEAL,
            Pages::Code => MemfdFlags::EXEC,
        };
        let fd = match rustix::fs::memfd_create(name, flags | wanted) {
            // Before Linux 6.3 there is no such flag, and every memory file can be
            // mapped as code.
            Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
            made => made,
        }?;
        Ok(Unsealed(File::from(fd)))
    }

    /// The file, for others to write to.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }

    /// The file from its beginning, for good.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn seal(mut self) -> io::Result<File> {
        self.0.rewind()?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&self.0, seals)?;
        Ok(self.0)
    }
}

impl Write for Unsealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_sealed_file_is_read_and_not_changed() {
        let mut file = sealed_json("test", &["one"]).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, r#"["one"]"#);
        assert!(file.write_all(b"more").is_err());
        assert!(file.set_len(0).is_err());
    }
}
