//! Questions to name servers and what their answers say; RFC 1035, RFC 3596.

use std::net::IpAddr;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Record {
    Ipv4,
    Ipv6,
}

/// What an answer says.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// The addresses, none where the name has others, or nothing at all.
    Addresses(Vec<IpAddr>),
    /// It did not fit; TCP has room for it.
    Truncated,
    /// This server cannot tell.
    Failed,
    /// No answer to this question.
    Foreign,
}

/// The bytes of a question. `None` for what is no name of the DNS.
pub(super) fn question(id: u16, name: &str, record: Record) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    let kind = QTYPE::TYPE(record.kind());
    packet
        .questions
        .push(Question::new(name, kind, CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// Reads what came back for a question. Aliases are not followed here: a
/// server that recurses gives the addresses along with them.
pub(super) fn read(id: u16, name: &str, record: Record, bytes: &[u8]) -> Answer {
    let Ok(packet) = Packet::parse(bytes) else {
        return Answer::Foreign;
    };
    let asked = packet.questions.first().is_some_and(|question| {
        question.qname.to_string().eq_ignore_ascii_case(name)
            && question.qtype == QTYPE::TYPE(record.kind())
    });
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !asked {
        return Answer::Foreign;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Answer::Truncated;
    }
    match packet.rcode() {
        RCODE::NoError => Answer::Addresses(
            packet
                .answers
                .iter()
                .filter_map(|answer| record.address(&answer.rdata))
                .collect(),
        ),
        RCODE::NameError => Answer::Addresses(Vec::new()),
        _ => Answer::Failed,
    }
}

impl Record {
    fn kind(self) -> TYPE {
        match self {
            Record::Ipv4 => TYPE::A,
            Record::Ipv6 => TYPE::AAAA,
        }
    }

    fn address(self, data: &RData<'_>) -> Option<IpAddr> {
        match (self, data) {
            (Record::Ipv4, RData::A(a)) => Some(IpAddr::V4(a.address.into())),
            (Record::Ipv6, RData::AAAA(a)) => Some(IpAddr::V6(a.address.into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `port`, type A, with two addresses behind an alias.
    const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x03\0\0\0\0\x04port\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x09\x07harbour\0\
        \xc0\x22\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01\
        \xc0\x22\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x02";

    fn changed(at: usize, byte: u8) -> Answer {
        let mut bytes = ANSWER.to_vec();
        bytes[at] = byte;
        read(0x1234, "port", Record::Ipv4, &bytes)
    }

    #[test]
    fn a_question_is_what_rfc_1035_says() {
        assert_eq!(
            question(0x1234, "port", Record::Ipv6).unwrap(),
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04port\0\0\x1c\0\x01"
        );
        assert_eq!(question(1, &"x".repeat(64), Record::Ipv4), None);
    }

    #[test]
    fn an_answer_gives_all_addresses() {
        let addresses = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        for name in ["port", "PORT"] {
            assert_eq!(
                read(0x1234, name, Record::Ipv4, ANSWER),
                Answer::Addresses(addresses.to_vec())
            );
        }
    }

    #[test]
    fn answers_to_other_questions_are_foreign() {
        assert_eq!(read(7, "port", Record::Ipv4, ANSWER), Answer::Foreign);
        assert_eq!(read(0x1234, "ports", Record::Ipv4, ANSWER), Answer::Foreign);
        assert_eq!(read(0x1234, "port", Record::Ipv6, ANSWER), Answer::Foreign);
        assert_eq!(changed(2, 0x01), Answer::Foreign);
    }

    #[test]
    fn a_server_says_what_it_cannot_tell() {
        assert_eq!(changed(2, 0x83), Answer::Truncated);
        assert_eq!(changed(3, 0x82), Answer::Failed);
        assert_eq!(changed(3, 0x83), Answer::Addresses(Vec::new()));
    }

    #[test]
    fn damaged_answers_are_survived() {
        for end in 0..ANSWER.len() {
            let answer = read(0x1234, "port", Record::Ipv4, &ANSWER[..end]);
            assert_eq!(answer, Answer::Foreign, "{end} bytes");
        }
        for at in 0..ANSWER.len() {
            for byte in 0..=255 {
                changed(at, byte);
            }
        }
    }
}
