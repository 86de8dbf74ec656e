//! Reading what the other side's pointers point to, after all that can be
//! checked of a pointer was.

use crate::abi::{Buffer, Bytes, Texts};

/// Why what the other side handed over makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A pointer that must lead somewhere is null.
    #[error("{0} is a null pointer")]
    Null(&'static str),
    /// A pointer to something other than bytes is not aligned.
    #[error("{0} is not aligned")]
    Misaligned(&'static str),
    /// There is more of it than makes sense.
    #[error("{what} has a length of {length}, and {max} is the most")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// How long it says it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// A text that is none.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// A number that stands for nothing.
    #[error("{what} {number} is not known")]
    Unknown {
        /// What it should be.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// Well-formed, and not allowed.
    #[error("{what} {value:?} {why}")]
    Invalid {
        /// What it is.
        what: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// `count` items from `data` on.
///
/// # Safety
///
/// Where `data` is neither null nor misaligned and `count` is at most `max`,
/// `data` must point to so many items, unchanged for `'a`.
pub(crate) unsafe fn items<'a, T>(
    data: *const T,
    count: usize,
    max: usize,
    what: &'static str,
) -> Result<&'a [T], Malformed> {
    if count == 0 {
        return Ok(&[]);
    }
    let length = count;
    if length > max {
        return Err(Malformed::TooLong { what, length, max });
    }
    if data.is_null() {
        return Err(Malformed::Null(what));
    }
    if !data.is_aligned() {
        return Err(Malformed::Misaligned(what));
    }
    // SAFETY: not null, aligned, and the caller vouches for the items.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

/// One item.
///
/// # Safety
///
/// As [`items`].
pub(crate) unsafe fn item<'a, T>(data: *const T, what: &'static str) -> Result<&'a T, Malformed> {
    // SAFETY: the caller vouches for one item.
    let items = unsafe { items(data, 1, 1, what) }?;
    Ok(&items[0])
}

/// A text of at most `max` bytes.
///
/// # Safety
///
/// As [`items`].
pub(crate) unsafe fn text<'a>(
    bytes: Bytes,
    max: usize,
    what: &'static str,
) -> Result<&'a str, Malformed> {
    // SAFETY: the caller vouches for the bytes.
    let bytes = unsafe { items(bytes.data, bytes.length, max, what) }?;
    str::from_utf8(bytes).map_err(|_| Malformed::NotText(what))
}

/// A list of at most `max` texts of at most `max_length` bytes each.
///
/// # Safety
///
/// As [`items`], for the list and each of its texts.
pub(crate) unsafe fn texts<'a>(
    list: Texts,
    max: usize,
    max_length: usize,
    what: &'static str,
) -> Result<Vec<&'a str>, Malformed> {
    // SAFETY: the caller vouches for the list and its texts.
    unsafe {
        items(list.data, list.count, max, what)?
            .iter()
            .map(|bytes| text(*bytes, max_length, what))
            .collect()
    }
}

impl Buffer {
    /// Nothing, to be filled.
    pub const EMPTY: Buffer = Buffer {
        data: std::ptr::null_mut(),
        length: 0,
    };

    /// Bytes to be given back to [`Buffer::release`] of the same build.
    pub fn of(bytes: Vec<u8>) -> Self {
        let bytes = Box::leak(bytes.into_boxed_slice());
        Buffer {
            data: bytes.as_mut_ptr(),
            length: bytes.len(),
        }
    }

    /// Releases what [`Buffer::of`] made.
    ///
    /// # Safety
    ///
    /// It must come from [`Buffer::of`] of this build, or be
    /// [`Buffer::EMPTY`], and not be used again.
    pub unsafe fn release(self) {
        if !self.data.is_null() {
            // SAFETY: `of` leaked a box of just this pointer and length.
            drop(unsafe {
                Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.data, self.length))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_looked_at_before_it_is_followed() {
        let aligned = [1_u32, 2];
        let odd = aligned.as_ptr().cast::<u8>().wrapping_add(1).cast::<u32>();
        // SAFETY: only the first leads anywhere, to two numbers; the others are
        // refused before they are followed.
        unsafe {
            assert_eq!(items(aligned.as_ptr(), 2, 2, "it"), Ok(&aligned[..]));
            assert_eq!(
                items(std::ptr::null::<u8>(), 0, 2, "it"),
                Ok(&[][..]),
                "nothing is nowhere"
            );
            let error = |data, count| items::<u32>(data, count, 2, "it").unwrap_err().to_string();
            assert_eq!(error(std::ptr::null(), 1), "it is a null pointer");
            assert_eq!(error(odd, 1), "it is not aligned");
            assert_eq!(
                error(aligned.as_ptr(), 3),
                "it has a length of 3, and 2 is the most"
            );
        }
    }

    #[test]
    fn a_text_is_utf_8() {
        let of = |bytes: &'static [u8]| Bytes {
            data: bytes.as_ptr(),
            length: bytes.len(),
        };
        // SAFETY: both are constants.
        unsafe {
            assert_eq!(text(of("é".as_bytes()), 2, "it"), Ok("é"));
            assert_eq!(text(of(b"\xff"), 2, "it"), Err(Malformed::NotText("it")));
        }
    }

    #[test]
    fn a_buffer_is_released_also_when_it_is_empty() {
        let buffer = Buffer::of(b"text".to_vec());
        // SAFETY: each is released once.
        unsafe {
            assert_eq!(items(buffer.data, buffer.length, 4, "it"), Ok(&b"text"[..]));
            buffer.release();
            Buffer::of(Vec::new()).release();
            Buffer::EMPTY.release();
        }
    }
}
