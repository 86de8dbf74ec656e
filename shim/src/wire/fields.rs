//! Messages of which a few fields matter: read without a schema.

use protobuf::CodedInputStream;
use protobuf::rt::WireType;

use super::protobuf;

/// What a field holds.
pub enum Value {
    /// A number, or an enum's.
    Number(u64),
    /// A string, or a message within.
    Bytes(Vec<u8>),
}

impl Value {
    /// A string as it is, whatever was no UTF-8 replaced.
    pub fn text(self) -> String {
        match self {
            Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Value::Number(number) => number.to_string(),
        }
    }
}

/// Tells every field and its number, in the order in which they come; those of
/// fixed size, which no message here has, are left out.
///
/// # Errors
///
/// For damaged bytes.
pub fn each(bytes: &[u8], mut field: impl FnMut(u32, Value)) -> Result<(), protobuf::Error> {
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        let (number, wire) = (tag >> 3, tag & 7);
        match wire {
            0 => field(number, Value::Number(input.read_raw_varint64()?)),
            2 => field(number, Value::Bytes(input.read_bytes()?)),
            5 => input.skip_field(WireType::Fixed32)?,
            _ => input.skip_field(WireType::Fixed64)?,
        }
    }
    Ok(())
}
