//! Precompiled code of a component, mapped from its descriptor.
//!
//! wasmtime maps a module's code from an open file by itself. For components it
//! only takes a path or memory of the caller's, and changes no protection of
//! the latter: it asks a `CustomCodeMemory`, which [`Publisher`] is.

use std::fs::File;
use std::io;
use std::ptr::NonNull;

use memmap2::MmapOptions;
use rustix::mm::{MprotectFlags, mprotect};
use wasmtime::{CustomCodeMemory, Error};

/// Maps `code` whole, private and read-only, for the rest of the process.
///
/// The mapping is never given back: wasmtime needs it for as long as any
/// handle of the component lives, and init loads one program and ends with it.
///
/// # Safety
///
/// Nobody may change the file while the process lives.
pub(crate) unsafe fn map(code: &File) -> io::Result<NonNull<[u8]>> {
    // SAFETY: the caller promises that the file does not change.
    let mapping = unsafe { MmapOptions::new().map_copy_read_only(code)? };
    let bytes: &'static [u8] = &Box::leak(Box::new(mapping))[..];
    Ok(NonNull::from(bytes))
}

/// Makes the text of precompiled code executable, be it mapped by wasmtime or
/// by [`map`]. Either is read-only by then.
pub(crate) struct Publisher;

impl CustomCodeMemory for Publisher {
    fn required_alignment(&self) -> usize {
        rustix::param::page_size()
    }

    fn publish_executable(&self, ptr: *const u8, len: usize) -> Result<(), Error> {
        protect(ptr, len, MprotectFlags::READ | MprotectFlags::EXEC)
    }

    fn unpublish_executable(&self, ptr: *const u8, len: usize) -> Result<(), Error> {
        protect(ptr, len, MprotectFlags::READ)
    }
}

fn protect(ptr: *const u8, len: usize, flags: MprotectFlags) -> Result<(), Error> {
    // SAFETY: wasmtime passes the text section of a mapping that it holds,
    // aligned to `required_alignment`; the flags leave it readable.
    unsafe { mprotect(ptr.cast_mut().cast(), len, flags) }
        .map_err(|error| Error::from(io::Error::from(error)))
}
