//! Precompiled code, or the module that stands in for it, behind a header that
//! tells damage, in a file that is mapped.

use std::fs::File;

use memmap2::{Mmap, MmapOptions};
use trireme_engine::EngineError;

/// What it begins with. Two lengths follow, each in eight bytes, little-endian:
/// of the module, and of the gate behind it.
const MAGIC: &[u8; 16] = b"trireme-wasmedge";
const LENGTH: usize = size_of::<u64>();
const HEADER: usize = MAGIC.len() + 2 * LENGTH;

/// A module, and the gate of native code, as [`map`] takes them.
pub(crate) fn pack(module: &[u8], gate: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
    [&MAGIC[..], &length(module), &length(gate), module, gate].concat()
}

/// What [`pack`] made in a mapping of its file.
pub(crate) struct Mapped {
    mapping: Mmap,
    /// Where the gate begins.
    gate: usize,
}

impl Mapped {
    pub(crate) fn module(&self) -> &[u8] {
        &self.mapping[HEADER..self.gate]
    }

    /// The gate, without which the module is interpreted.
    pub(crate) fn gate(&self) -> Option<&[u8]> {
        Some(&self.mapping[self.gate..]).filter(|gate| !gate.is_empty())
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
    let lengths = mapping
        .strip_prefix(MAGIC)
        .ok_or_else(|| refused("it is not of this engine"))?;
    let gate = gate(lengths).ok_or_else(|| refused("it is cut short"))?;
    Ok(Mapped { mapping, gate })
}

/// Where the gate begins; `None` where the lengths are not those of the rest.
fn gate(lengths: &[u8]) -> Option<usize> {
    let (module, rest) = lengths.split_first_chunk::<LENGTH>()?;
    let (gate, rest) = rest.split_first_chunk::<LENGTH>()?;
    let [module, gate] = [module, gate].map(|length| u64::from_le_bytes(*length));
    (module.checked_add(gate)? == rest.len() as u64).then_some(HEADER + module as usize)
}
