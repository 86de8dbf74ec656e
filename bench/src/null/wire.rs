//! As much of protobuf's encoding as the null shim needs: integers, and fields with a length.

/// A message in the making.
#[derive(Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// Adds an integer field; 0 is left out, as proto3 does.
    pub fn integer(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            varint(&mut self.0, u64::from(field) << 3);
            varint(&mut self.0, value);
        }
        self
    }

    /// Adds a field of bytes, text or a message.
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        varint(&mut self.0, u64::from(field) << 3 | 2);
        varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The first field with this number that has a length; `None` also where the message is damaged.
pub fn find(mut message: &[u8], wanted: u32) -> Option<&[u8]> {
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let value = match tag & 7 {
            0 => take_varint(&mut message).map(|_| None)?,
            1 => take(&mut message, 8).map(|_| None)?,
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                Some(take(&mut message, length)?)
            }
            5 => take(&mut message, 4).map(|_| None)?,
            _ => return None,
        };
        if tag >> 3 == u64::from(wanted) && value.is_some() {
            return value;
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, back) = message.split_at_checked(length)?;
    *message = back;
    Some(front)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_protobuf() {
        // The examples of protobuf.dev/programming-guides/encoding.
        assert_eq!(Message::default().integer(1, 150).0, [0x08, 0x96, 0x01]);
        let text = Message::default().bytes(2, b"testing").0;
        assert_eq!(text, [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
    }

    #[test]
    fn a_field_is_found_behind_others() {
        let message = Message::default()
            .integer(4, 300)
            .bytes(1, b"id")
            .bytes(6, b"out")
            .0;
        assert_eq!(find(&message, 6), Some(&b"out"[..]));
        assert_eq!(find(&message, 4), None);
        assert_eq!(find(&message[..message.len() - 1], 6), None);
    }
}
