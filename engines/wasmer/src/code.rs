//! Precompiled code, mapped from its descriptor.
//!
//! wasmer opens files by path only, so the mapping is made here. From it wasmer
//! copies the machine code; what describes the module is used where it is.

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::MmapOptions;

/// Maps `code` whole, private and read-only.
///
/// # Safety
///
/// Nobody may change the file while the bytes live.
pub(crate) unsafe fn map(code: &File) -> io::Result<Bytes> {
    // SAFETY: the caller promises that the file does not change.
    let mapping = unsafe { MmapOptions::new().map_copy_read_only(code)? };
    Ok(Bytes::from_owner(mapping))
}
