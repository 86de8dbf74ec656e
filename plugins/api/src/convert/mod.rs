//! From the interface's types to the adapter's, and back. What the other side
//! handed over is checked before it is believed.

pub mod guest;
pub mod info;
mod numbers;
pub mod outcome;
pub mod settings;

pub use crate::memory::Malformed;
pub use numbers::{Number, number};

/// The most bytes of a name, a key or a word.
pub const MAX_NAME: usize = 63;
/// The most bytes of a message and of a line of documentation.
pub const MAX_MESSAGE: usize = 64 << 10;
/// The most items of any list.
pub const MAX_ITEMS: usize = 1 << 16;
/// The most bytes of WebAssembly and of precompiled code.
pub const MAX_CODE: usize = 4 << 30;

/// A text as the other side finds it; it must outlive its use.
pub fn bytes(text: impl AsRef<[u8]>) -> crate::abi::Bytes {
    let text = text.as_ref();
    crate::abi::Bytes {
        data: text.as_ptr(),
        length: text.len(),
    }
}

/// A list of texts as the other side finds it; it must outlive its use.
pub fn texts(list: &[crate::abi::Bytes]) -> crate::abi::Texts {
    crate::abi::Texts {
        data: list.as_ptr(),
        count: list.len(),
    }
}

/// One line of a message that came from the other side: no control characters,
/// no space around it.
pub fn line(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().to_owned()
}
