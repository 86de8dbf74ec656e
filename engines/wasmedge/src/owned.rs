//! WasmEdge's objects, each deleted by its own function.

use std::ptr::NonNull;

use trireme_engine::EngineError;

/// An object of WasmEdge that is ours to delete.
pub(crate) struct Owned<T> {
    object: NonNull<T>,
    delete: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// What a function of WasmEdge has just made; `what` is named where there
    /// was no memory for it.
    ///
    /// # Safety
    ///
    /// The object must be ours, and `delete` its function.
    pub(crate) unsafe fn new(
        object: *mut T,
        delete: unsafe extern "C" fn(*mut T),
        what: &str,
    ) -> Result<Self, EngineError> {
        NonNull::new(object)
            .map(|object| Owned { object, delete })
            .ok_or_else(|| EngineError::Internal(format!("WasmEdge cannot make its {what}")))
    }

    pub(crate) fn get(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the object is ours, and not used again.
        unsafe { (self.delete)(self.object.as_ptr()) };
    }
}
