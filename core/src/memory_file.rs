//! Files in memory that nobody can change any more (`memfd_create(2)`): what is
//! handed from one process to another, of any size.

use std::fs::File;
use std::io::{self, Seek, Write};

use rustix::fs::{MemfdFlags, SealFlags};
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
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let wanted = match pages {
        Pages::Data => MemfdFlags::NOEXEC_SEAL,
        Pages::Code => MemfdFlags::EXEC,
    };
    // Before Linux 6.3 there is no such flag, and every memory file can be
    // mapped as code.
    let fd = rustix::fs::memfd_create(name, flags | wanted)
        .or_else(|_| rustix::fs::memfd_create(name, flags))?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
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
