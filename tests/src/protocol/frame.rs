//! Frames of ttrpc (containerd/ttrpc `PROTOCOL.md`).

use std::io::{self, Read, Write};

/// The type of a frame that holds a request.
pub const REQUEST: u8 = 1;
/// The type of a frame that holds a response.
pub const RESPONSE: u8 = 2;
/// The longest payload, in bytes.
const MAX_PAYLOAD: u32 = 4 << 20;
const HEADER: usize = 10;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The number of the call on its connection.
    pub stream: u32,
    /// [`REQUEST`] or [`RESPONSE`].
    pub kind: u8,
    /// Flags of streams, which the task service does not use.
    pub flags: u8,
    /// A `ttrpc.Request` or `ttrpc.Response`.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads a frame; `None` at the end of the connection.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or what comes is no frame.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        match from.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|n| header[at + n]));
        let length = number(0);
        if length > MAX_PAYLOAD {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame longer than ttrpc allows",
            ));
        }
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload)?;
        Ok(Some(Self {
            stream: number(4),
            kind: header[8],
            flags: header[9],
            payload,
        }))
    }

    /// Writes the frame.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(self.payload.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend([self.kind, self.flags]);
        bytes.extend(&self.payload);
        to.write_all(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let frame = Frame {
            stream: 0x0102_0304,
            kind: REQUEST,
            flags: 0,
            payload: b"payload".to_vec(),
        };
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        assert_eq!(&bytes[..10], [0, 0, 0, 7, 1, 2, 3, 4, 1, 0]);
        let mut rest = bytes.as_slice();
        assert_eq!(Frame::read(&mut rest).unwrap(), Some(frame));
        assert_eq!(Frame::read(&mut rest).unwrap(), None);
    }

    #[test]
    fn a_length_that_no_frame_has_is_refused() {
        let bytes = [0xff; 10];
        assert!(Frame::read(&mut bytes.as_slice()).is_err());
    }
}
