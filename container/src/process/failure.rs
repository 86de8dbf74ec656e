//! What a child says on its link, in the link's own form, when its program cannot be executed.

use std::ffi::CStr;

/// Room for a reason and for what closes the message.
const ROOM: usize = 128;
/// What closes a message.
const CLOSE: &[u8] = b"\"}}";

/// A message without its end. All memory for that is there before the child is.
pub(super) struct Failure(Vec<u8>);

impl Failure {
    /// One of this program.
    pub fn of(program: &CStr) -> Self {
        let what = format!("cannot execute {}: ", program.to_string_lossy());
        let message = serde_json::json!({ "Failed": { "message": what } });
        let mut bytes = message.to_string().into_bytes();
        bytes.truncate(bytes.len() - CLOSE.len());
        bytes.reserve_exact(ROOM);
        Self(bytes)
    }

    /// The message for an error of execve(2).
    pub fn message(mut self, errno: i32) -> Vec<u8> {
        let digits = [100, 10, 1].map(|place| b'0' + (errno / place % 10) as u8);
        let reason: [&[u8]; 2] = match errno {
            libc::ENOENT => [
                b"it is not installed beside trireme-shim, or its loader is not there",
                b"",
            ],
            libc::EACCES => [b"permission denied", b""],
            _ => [b"error ", &digits],
        };
        for part in reason.into_iter().chain([CLOSE]) {
            self.0.extend_from_slice(part);
        }
        self.0
    }
}
