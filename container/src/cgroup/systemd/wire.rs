//! Messages of D-Bus, as far as three calls need them (D-Bus Specification 0.43,
//! "Message Protocol").
//!
//! Values are aligned to their size from the beginning of a message, which a body
//! begins on a multiple of 8 of.

/// A value of a property, with its type in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string (s).
    Text(String),
    /// A truth (b).
    Truth(bool),
    /// A number (t).
    Number(u64),
    /// Numbers (au).
    Numbers(Vec<u32>),
    /// Bytes (ay).
    Bytes(Vec<u8>),
    /// Pairs of strings (a(ss)).
    Pairs(Vec<(String, String)>),
}

/// Writes values one after the other.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn truth(&mut self, value: bool) {
        self.number(value.into());
    }

    pub fn text(&mut self, value: &str) {
        self.number(value.len() as u32);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
    }

    pub fn signature(&mut self, value: &str) {
        self.0.push(value.len() as u8);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
    }

    /// An array of elements that are aligned so. Its length does not count what
    /// aligns the first.
    pub fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Pairs of a name and a value of any type (a(sv)).
    pub fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |w| {
            for (name, value) in properties {
                w.align(8);
                w.text(name);
                w.variant(value);
            }
        });
    }

    fn variant(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.signature("s");
                self.text(text);
            }
            Value::Truth(truth) => {
                self.signature("b");
                self.truth(*truth);
            }
            Value::Number(number) => {
                self.signature("t");
                self.align(8);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            Value::Numbers(numbers) => {
                self.signature("au");
                self.array(4, |w| numbers.iter().for_each(|number| w.number(*number)));
            }
            Value::Bytes(bytes) => {
                self.signature("ay");
                self.array(1, |w| w.0.extend_from_slice(bytes));
            }
            Value::Pairs(pairs) => {
                self.signature("a(ss)");
                self.array(8, |w| {
                    for (one, other) in pairs {
                        w.align(8);
                        w.text(one);
                        w.text(other);
                    }
                });
            }
        }
    }
}

/// A call.
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    /// The types of the body.
    pub signature: &'a str,
    pub body: Vec<u8>,
}

impl Call<'_> {
    /// The whole message.
    pub fn message(&self, serial: u32) -> Vec<u8> {
        const LITTLE_ENDIAN: u8 = b'l';
        const CALL: u8 = 1;
        const VERSION: u8 = 1;
        let mut w = Writer::default();
        for byte in [LITTLE_ENDIAN, CALL, 0, VERSION] {
            w.byte(byte);
        }
        w.number(self.body.len() as u32);
        w.number(serial);
        w.array(8, |w| {
            let fields = [
                (1, "o", self.path),
                (2, "s", self.interface),
                (3, "s", self.member),
                (6, "s", self.destination),
                (8, "g", self.signature),
            ];
            for (code, kind, value) in fields {
                if value.is_empty() {
                    continue;
                }
                w.align(8);
                w.byte(code);
                w.signature(kind);
                match kind {
                    "g" => w.signature(value),
                    _ => w.text(value),
                }
            }
        });
        w.align(8);
        let mut message = w.into_bytes();
        message.extend_from_slice(&self.body);
        message
    }
}

/// How long the part of a message is that tells how long the rest is.
pub const PREFIX: usize = 16;
/// No message that is of interest here is longer.
const LONGEST: usize = 1 << 20;

/// How many bytes follow the first 16; none for what is no message.
pub fn rest_of(prefix: &[u8; PREFIX]) -> Option<usize> {
    let number = |at: usize| Some(u32::from_le_bytes(prefix[at..at + 4].try_into().ok()?) as usize);
    let (body, fields) = (number(4)?, number(12)?);
    let rest = fields.checked_next_multiple_of(8)?.checked_add(body)?;
    (prefix[0] == b'l' && rest <= LONGEST).then_some(rest)
}

/// What a message says, as far as a caller wants to know.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The call that it answers.
    pub answers: Option<u32>,
    /// The name of the error that it is.
    pub error: Option<String>,
    /// The first string of its body.
    pub text: String,
}

impl Message {
    /// Reads a message, its first bytes included.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        const ANSWERS: u8 = 5;
        const ERROR: u8 = 4;
        let mut reader = Reader { bytes, at: 12 };
        let end = reader.number()? as usize + PREFIX;
        let mut message = Self::default();
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (reader.signature()?, code) {
                ("u", ANSWERS) => message.answers = Some(reader.number()?),
                ("u", _) => drop(reader.number()?),
                ("s" | "o", ERROR) => message.error = Some(reader.text()?.to_owned()),
                ("s" | "o", _) => drop(reader.text()?),
                ("g", _) => drop(reader.signature()?),
                _ => return None,
            }
        }
        reader.align(8);
        if message.error.is_some() {
            message.text = reader.text().unwrap_or_default().to_owned();
        }
        Some(message)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()? as usize;
        let text = self.take(length)?;
        self.byte()?;
        std::str::from_utf8(text).ok()
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()?.into();
        let text = self.take(length)?;
        self.byte()?;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_and_arrays_count_their_elements() {
        let mut w = Writer::default();
        w.properties(&[("A", Value::Number(1)), ("PIDs", Value::Numbers(vec![7]))]);
        let expected: &[&[u8]] = &[
            &[50, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'A', 0, 1, b't'],
            &[0, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[4, 0, 0, 0, b'P', b'I', b'D', b's'],
            &[0, 2, b'a', b'u', 0, 0, 0, 0],
            &[4, 0, 0, 0, 7, 0, 0, 0],
        ];
        let mut expected = expected.concat();
        expected[0] = (expected.len() - 8) as u8;
        assert_eq!(w.into_bytes(), expected);
    }

    #[test]
    fn each_pair_begins_at_a_multiple_of_eight() {
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let pairs = Value::Pairs(vec![pair("a", "b"), pair("c", "d")]);
        let mut w = Writer::default();
        w.variant(&pairs);
        let expected: &[&[u8]] = &[
            &[5, b'a', b'(', b's', b's', b')', 0, 0],
            &[30, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'a', 0, 0, 0],
            &[1, 0, 0, 0, b'b', 0, 0, 0],
            &[1, 0, 0, 0, b'c', 0, 0, 0],
            &[1, 0, 0, 0, b'd', 0],
        ];
        assert_eq!(w.into_bytes(), expected.concat());
    }

    #[test]
    fn an_error_is_told_with_the_call_that_it_answers() {
        let mut body = Writer::default();
        body.text("Unit a.scope not loaded.");
        // An answer differs from a call in its fields alone.
        let mut w = Writer::default();
        [b'l', 3, 0, 1].into_iter().for_each(|byte| w.byte(byte));
        let body = body.into_bytes();
        w.number(body.len() as u32);
        w.number(9);
        w.array(8, |w| {
            w.byte(5);
            w.signature("u");
            w.number(4);
            w.align(8);
            w.byte(4);
            w.signature("s");
            w.text("org.freedesktop.systemd1.NoSuchUnit");
            w.align(8);
            w.byte(8);
            w.signature("g");
            w.signature("s");
        });
        w.align(8);
        let message = [w.into_bytes(), body].concat();
        let prefix = message[..PREFIX].try_into().unwrap();
        assert_eq!(rest_of(prefix), Some(message.len() - PREFIX));
        let read = Message::parse(&message).unwrap();
        assert_eq!(read.answers, Some(4));
        assert_eq!(
            read.error.as_deref(),
            Some("org.freedesktop.systemd1.NoSuchUnit")
        );
        assert_eq!(read.text, "Unit a.scope not loaded.");
        for end in 0..message.len() {
            let _ = Message::parse(&message[..end]);
        }
    }

    #[test]
    fn a_call_is_one_whole_message() {
        let call = Call {
            destination: "a.b",
            path: "/",
            interface: "a.b",
            member: "C",
            signature: "s",
            body: vec![0; 5],
        };
        let message = call.message(1);
        let prefix = message[..PREFIX].try_into().unwrap();
        assert_eq!(rest_of(prefix), Some(message.len() - PREFIX));
        assert_eq!(Message::parse(&message), Some(Message::default()));
    }
}
