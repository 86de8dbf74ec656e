//! The container's hosts(5) and resolv.conf(5).

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// The most that is read of a file, in bytes: the image may hold anything.
const SIZE: u64 = 1 << 20;

/// The port of name servers.
const PORT: u16 = 53;

/// What resolv.conf(5) says of servers, within its bounds.
#[derive(Debug, PartialEq)]
pub(super) struct Resolver {
    pub(super) servers: Vec<SocketAddr>,
    /// Domains that short names are tried below.
    pub(super) search: Vec<String>,
    /// A name of as many dots is tried by itself first.
    pub(super) dots: usize,
    pub(super) attempts: u32,
    /// How long one answer is waited for.
    pub(super) timeout: Duration,
    /// Whether IPv6 addresses are asked for.
    pub(super) ipv6: bool,
}

/// The content of a file of the container; nothing where there is none, or
/// something else has its place.
pub(super) fn read(path: &str) -> Vec<u8> {
    // A FIFO must not hold the guest up, nor a terminal become its own.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(fd) = openat(CWD, path, flags, Mode::empty()) else {
        return Vec::new();
    };
    let file = File::from(fd);
    let mut bytes = Vec::new();
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => match file.take(SIZE).read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The addresses that a hosts file gives a name, in its order.
pub(super) fn addresses(hosts: &[u8], name: &str) -> Vec<IpAddr> {
    String::from_utf8_lossy(hosts)
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|alias| alias.eq_ignore_ascii_case(name))
                .then_some(address)
        })
        .collect()
}

/// What a resolv.conf asks for. Lines that are not understood say nothing, as
/// for the C library, and without a server it is that of this machine.
pub(super) fn resolver(text: &[u8]) -> Resolver {
    let (mut config, _) = resolv_conf::Config::parse_with_errors(text);
    config.glibc_normalize();
    let mut servers: Vec<IpAddr> = config.nameservers.iter().map(IpAddr::from).collect();
    if servers.is_empty() {
        servers.push(Ipv4Addr::LOCALHOST.into());
    }
    Resolver {
        servers: servers
            .into_iter()
            .map(|server| SocketAddr::new(server, PORT))
            .collect(),
        search: config.get_last_search_or_domain().cloned().collect(),
        dots: config.ndots.min(15) as usize,
        attempts: config.attempts.clamp(1, 5),
        timeout: Duration::from_secs(config.timeout.clamp(1, 30).into()),
        ipv6: !config.no_aaaa,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_gives_every_address_of_a_name() {
        let hosts = b"127.0.0.1\tlocalhost\n10.0.0.9 port harbour # the old port\n\
            \n# 10.0.0.8 port\nnothing port\nfd00::9 Port\n10.0.0.7 ports";
        let found = |name| {
            addresses(hosts, name)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(found("port"), ["10.0.0.9", "fd00::9"]);
        assert_eq!(found("HARBOUR"), ["10.0.0.9"]);
        assert!(found("old").is_empty());
        assert!(found("127.0.0.1").is_empty());
    }

    #[test]
    fn a_resolv_conf_is_taken_within_its_bounds() {
        let text = b"# made by hand\nnameserver 127.0.0.11\nnameserver fd00::1\nbogus line\n\
            search sea.example land.example\noptions ndots:0 timeout:400 attempts:9 no-aaaa\n";
        assert_eq!(
            resolver(text),
            Resolver {
                servers: vec![
                    "127.0.0.11:53".parse().unwrap(),
                    "[fd00::1]:53".parse().unwrap()
                ],
                search: vec!["sea.example".into(), "land.example".into()],
                dots: 0,
                attempts: 5,
                timeout: Duration::from_secs(30),
                ipv6: false,
            }
        );
        let nothing = resolver(b"\0\xff nameserver");
        assert_eq!(nothing.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!((nothing.dots, nothing.attempts, nothing.ipv6), (1, 2, true));
    }

    #[test]
    fn only_a_plain_file_is_read() {
        assert!(read("/dev/zero").is_empty());
        assert!(read("/etc").is_empty());
        assert!(read("/etc/no-such-file").is_empty());
        assert!(!read("/etc/hosts").is_empty());
    }
}
