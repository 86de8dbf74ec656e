//! Asking name servers as resolv.conf(5) says: short names below the domains
//! to search, one server after the other, over UDP and where an answer is too
//! long for it over TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use wasmtime_wasi::Rng;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use super::answer::{self, Answer, Record};
use super::files::Resolver;

/// The most that an answer over UDP has without EDNS; RFC 1035, section 4.2.1.
const DATAGRAM: usize = 512;

/// The addresses of a host name, those of IPv4 first: a container's network
/// has these unless it is said otherwise.
///
/// # Errors
///
/// `name-unresolvable` where the servers know of none,
/// `temporary-resolver-failure` where none of them could tell.
pub(super) async fn find(name: &str, resolver: &Resolver) -> Result<Vec<IpAddr>, ErrorCode> {
    let mut failure = ErrorCode::NameUnresolvable;
    for name in candidates(name, resolver) {
        let found = match both(&name, resolver).await {
            Ok(found) => found,
            Err(code) => {
                failure = code;
                continue;
            }
        };
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(failure)
}

/// The full names that a name may stand for, in the order to try.
fn candidates(name: &str, resolver: &Resolver) -> Vec<String> {
    if let Some(whole) = name.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let mut below: Vec<_> = resolver
        .search
        .iter()
        .map(|domain| format!("{name}.{}", domain.trim_matches('.')))
        .collect();
    let itself = match name.matches('.').count() >= resolver.dots {
        true => 0,
        false => below.len(),
    };
    below.insert(itself, name.to_owned());
    below
}

async fn both(name: &str, resolver: &Resolver) -> Result<Vec<IpAddr>, ErrorCode> {
    let mut found = ask(name, Record::Ipv4, resolver).await?;
    if resolver.ipv6 {
        match ask(name, Record::Ipv6, resolver).await {
            Ok(more) => found.extend(more),
            Err(code) if found.is_empty() => return Err(code),
            Err(_) => {}
        }
    }
    Ok(found)
}

async fn ask(name: &str, record: Record, resolver: &Resolver) -> Result<Vec<IpAddr>, ErrorCode> {
    for _ in 0..resolver.attempts {
        for server in &resolver.servers {
            let exchange = exchange(*server, name, record);
            if let Ok(Ok(Some(addresses))) = timeout(resolver.timeout, exchange).await {
                return Ok(addresses);
            }
        }
    }
    Err(ErrorCode::TemporaryResolverFailure)
}

/// One question and its answer. `None` where the server cannot tell.
async fn exchange(
    server: SocketAddr,
    name: &str,
    record: Record,
) -> io::Result<Option<Vec<IpAddr>>> {
    // Others must not guess it, nor the port, which the kernel chooses: both
    // together tell an answer from a forged one (RFC 5452).
    let id = wasmtime_wasi::thread_rng().next_u32() as u16;
    let question = answer::question(id, name, record).ok_or(io::ErrorKind::InvalidInput)?;
    let read = |bytes: &[u8]| answer::read(id, name, record, bytes);
    let answer = match over_udp(server, &question, read).await? {
        Answer::Truncated => over_tcp(server, &question, read).await?,
        answer => answer,
    };
    Ok(match answer {
        Answer::Addresses(addresses) => Some(addresses),
        Answer::Truncated | Answer::Failed | Answer::Foreign => None,
    })
}

async fn over_udp(
    server: SocketAddr,
    question: &[u8],
    read: impl Fn(&[u8]) -> Answer,
) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut bytes = [0; DATAGRAM];
    loop {
        let size = socket.recv(&mut bytes).await?;
        match read(&bytes[..size]) {
            Answer::Foreign => {}
            answer => return Ok(answer),
        }
    }
}

async fn over_tcp(
    server: SocketAddr,
    question: &[u8],
    read: impl Fn(&[u8]) -> Answer,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let size = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&size.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let mut bytes = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(read(&bytes))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket as Blocking};
    use std::time::Duration;

    use super::*;
    use crate::names::files;

    const ANSWERS: u8 = 0x80;
    const TRUNCATED: u8 = 0x82;
    const CANNOT_TELL: u8 = 2;

    /// The answer to a question with these flags and addresses.
    fn reply(question: &[u8], flags: u8, code: u8, addresses: &[[u8; 4]]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        (bytes[2], bytes[3]) = (flags, code);
        bytes[7] = addresses.len() as u8;
        for address in addresses {
            bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04");
            bytes.extend(address);
        }
        bytes
    }

    /// A name server on loopback for as many questions.
    fn server(
        questions: usize,
        mut answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> SocketAddr {
        let socket = Blocking::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            for _ in 0..questions {
                let mut bytes = [0; DATAGRAM];
                let (size, from) = socket.recv_from(&mut bytes).unwrap();
                socket.send_to(&answer(&bytes[..size]), from).unwrap();
            }
        });
        address
    }

    fn lookup(name: &str, servers: Vec<SocketAddr>) -> Result<Vec<IpAddr>, ErrorCode> {
        let mut resolver = files::resolver(b"options attempts:1 no-aaaa");
        resolver.servers = servers;
        resolver.timeout = Duration::from_millis(300);
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(find(name, &resolver))
    }

    fn is_port(question: &[u8]) -> bool {
        question[12..].starts_with(b"\x04port\0")
    }

    #[test]
    fn a_server_that_cannot_tell_is_followed_by_the_next() {
        let silent = Blocking::bind("127.0.0.1:0").unwrap();
        let failing = server(1, |question| reply(question, ANSWERS, CANNOT_TELL, &[]));
        let knowing = server(1, |question| {
            assert!(is_port(question));
            reply(question, ANSWERS, 0, &[[10, 0, 0, 1], [10, 0, 0, 2]])
        });
        let servers = vec![silent.local_addr().unwrap(), failing, knowing];
        let found = lookup("port", servers).unwrap();
        assert_eq!(
            found,
            ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap())
        );
    }

    #[test]
    fn what_no_server_knows_and_what_none_can_tell_are_two_errors() {
        let failing = server(1, |question| reply(question, ANSWERS, CANNOT_TELL, &[]));
        let ignorant = server(1, |question| reply(question, ANSWERS, 3, &[]));
        assert_eq!(
            lookup("port", vec![ignorant]),
            Err(ErrorCode::NameUnresolvable)
        );
        assert_eq!(
            lookup("port", vec![failing]),
            Err(ErrorCode::TemporaryResolverFailure)
        );
    }

    #[test]
    fn a_forged_answer_is_passed_over() {
        let forging = server(1, |question| {
            let mut other = question.to_vec();
            other[0] ^= 1;
            reply(&other, ANSWERS, 0, &[[6, 6, 6, 6]])
        });
        assert_eq!(
            lookup("port", vec![forging]),
            Err(ErrorCode::TemporaryResolverFailure)
        );
    }

    #[test]
    fn a_long_answer_comes_over_tcp() {
        use std::io::{Read, Write};

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Blocking::bind(address).unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; DATAGRAM];
            let (size, from) = socket.recv_from(&mut bytes).unwrap();
            let short = reply(&bytes[..size], TRUNCATED, 0, &[]);
            socket.send_to(&short, from).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut bytes[..2 + size]).unwrap();
            let many = [[10, 0, 0, 3]; 100];
            let long = reply(&bytes[2..2 + size], ANSWERS, 0, &many);
            let length = u16::try_from(long.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &long].concat()).unwrap();
        });
        assert_eq!(lookup("port", vec![address]).unwrap().len(), 100);
    }

    #[test]
    fn short_names_are_tried_below_the_domains_first() {
        let resolver = files::resolver(b"search sea land.example.\noptions ndots:2\n");
        assert_eq!(
            candidates("port", &resolver),
            ["port.sea", "port.land.example", "port"]
        );
        assert_eq!(
            candidates("a.b.c", &resolver),
            ["a.b.c", "a.b.c.sea", "a.b.c.land.example"]
        );
        assert_eq!(candidates("port.", &resolver), ["port"]);
    }
}
