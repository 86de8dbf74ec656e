//! What WasmEdge says of an error, beyond its code: it logs it, line by line,
//! and would do so on the guest's own stdout.

use std::sync::{Mutex, Once, PoisonError};

use crate::ffi;

/// The lines since they were last taken.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How many lines of one error are kept.
const KEPT: usize = 64;

/// Has all that WasmEdge logs from here on come to [`take`].
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: functions without conditions; `note` is there for good.
        unsafe {
            ffi::WasmEdge_LogSetLevel(ffi::LOG_ERROR);
            ffi::WasmEdge_LogSetCallback(note);
        }
    });
}

/// The lines that came since the last call.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *LINES.lock().unwrap_or_else(PoisonError::into_inner))
}

extern "C" fn note(message: *const ffi::LogMessage) {
    // SAFETY: WasmEdge lends the message, and the text in it, for this call.
    let text = unsafe {
        let ffi::Text { length, data } = (*message).message;
        match data.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(data.cast::<u8>(), length as usize),
        }
    };
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let room = KEPT.saturating_sub(lines.len());
    let text = String::from_utf8_lossy(text);
    lines.extend(text.lines().take(room).map(|line| line.trim().to_owned()));
}
