//! Which shared objects the process has loaded.

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The files of the shared objects that are loaded now, as the dynamic linker
/// names them. The program itself and the kernel's own object have none.
pub fn mapped() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    // SAFETY: the callback is called during this call alone, with the vector
    // that it is given.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut files).cast()) };
    files
}

unsafe extern "C" fn note(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    files: *mut c_void,
) -> c_int {
    // SAFETY: the dynamic linker's own record, and the vector of `mapped`.
    unsafe {
        let name = (*info).dlpi_name;
        if !name.is_null() {
            let path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
            if path.is_absolute() {
                (*files.cast::<Vec<PathBuf>>()).push(path);
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_among_them() {
        let files = mapped();
        let is_libc = |file: &PathBuf| file.to_string_lossy().contains("libc.so");
        assert!(files.iter().any(is_libc), "{files:?}");
    }
}
