//! What stands in for precompiled code: the module, behind a header that tells
//! damage, in a file that is mapped.

use std::fs::File;

use memmap2::{Mmap, MmapOptions};
use trireme_engine::EngineError;

/// What it begins with; the length of the rest follows in eight bytes,
/// little-endian.
const MAGIC: &[u8; 16] = b"trireme-wasmedge";
const HEADER: usize = MAGIC.len() + size_of::<u64>();

/// A module as [`map`] takes it.
pub(crate) fn pack(module: &[u8]) -> Vec<u8> {
    let length = (module.len() as u64).to_le_bytes();
    [&MAGIC[..], &length, module].concat()
}

/// A module in a mapping of its file.
pub(crate) struct Mapped(Mmap);

impl Mapped {
    pub(crate) fn module(&self) -> &[u8] {
        &self.0[HEADER..]
    }
}

/// Maps what [`pack`] made.
///
/// # Safety
///
/// Nobody may change the file while the mapping lives.
pub(crate) unsafe fn map(code: &File) -> Result<Mapped, EngineError> {
    let refused = |why: &str| EngineError::Precompiled(why.into());
    // SAFETY: the caller promises that the file does not change.
    let mapping = unsafe { MmapOptions::new().map_copy_read_only(code) }
        .map_err(|error| EngineError::Precompiled(format!("it cannot be mapped: {error}")))?;
    let (length, module) = mapping
        .strip_prefix(MAGIC)
        .and_then(<[u8]>::split_first_chunk)
        .ok_or_else(|| refused("it is not of this engine"))?;
    if u64::from_le_bytes(*length) != module.len() as u64 {
        return Err(refused("it is cut short"));
    }
    Ok(Mapped(mapping))
}
