//! `wasi:sockets/ip-name-lookup` for components, in the place of
//! `wasmtime-wasi`'s, which asks the C library: that reads the image's
//! `nsswitch.conf` and loads the libraries that it names, native code of the
//! image's choice.
//!
//! What is looked at here are the container's `/etc/hosts` and
//! `/etc/resolv.conf`, and the servers that the latter names, over the
//! container's network.

mod answer;
mod files;
mod servers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::vec::IntoIter;

use wasmtime::component::{Resource, ResourceType};
use wasmtime::{Error, StoreContextMut};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use crate::load::{ComponentHost, ComponentLinker};

/// The interface as `wasmtime-wasi` 48 names it; an import of an older 0.2 is
/// given it too.
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

type Store<'a> = StoreContextMut<'a, ComponentHost>;
type Addresses = Result<IntoIter<IpAddr>, ErrorCode>;

/// A lookup, `resolve-address-stream`.
enum Lookup {
    Running(AbortOnDropJoinHandle<Addresses>),
    Done(Addresses),
}

impl Lookup {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<&mut Addresses> {
        if let Lookup::Running(task) = self {
            match Pin::new(task).poll(context) {
                Poll::Ready(addresses) => *self = Lookup::Done(addresses),
                Poll::Pending => return Poll::Pending,
            }
        }
        match self {
            Lookup::Done(addresses) => Poll::Ready(addresses),
            Lookup::Running(_) => Poll::Pending,
        }
    }
}

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context).map(drop)).await;
    }
}

/// Puts this lookup in the place of `wasmtime-wasi`'s.
pub(crate) fn shadow(linker: &mut ComponentLinker) -> Result<(), Error> {
    linker.allow_shadowing(true);
    let mut interface = linker.instance(LOOKUP)?;
    interface.resource(
        "resolve-address-stream",
        ResourceType::host::<Lookup>(),
        |mut store: Store<'_>, index| {
            let lookup = Resource::<Lookup>::new_own(index);
            store.data_mut().table.delete(lookup)?;
            Ok(())
        },
    )?;
    interface.func_wrap("resolve-addresses", resolve_addresses)?;
    interface.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        next_address,
    )?;
    interface.func_wrap("[method]resolve-address-stream.subscribe", wait)
}

fn resolve_addresses(
    mut store: Store<'_>,
    (network, name): (Resource<Network>, String),
) -> Result<(Result<Resource<Lookup>, ErrorCode>,), Error> {
    let host = store.data_mut();
    host.table.get(&network)?;
    if !host.network {
        return Ok((Err(ErrorCode::PermanentResolverFailure),));
    }
    let lookup = match parse(&name) {
        Err(code) => return Ok((Err(code),)),
        Ok(Name::Address(address)) => Lookup::Done(Ok(vec![address].into_iter())),
        Ok(Name::Host(name)) => {
            Lookup::Running(spawn(async move { Ok(find(&name).await?.into_iter()) }))
        }
    };
    Ok((Ok(host.table.push(lookup)?),))
}

fn next_address(
    mut store: Store<'_>,
    (lookup,): (Resource<Lookup>,),
) -> Result<(Result<Option<IpAddress>, ErrorCode>,), Error> {
    let lookup = store.data_mut().table.get_mut(&lookup)?;
    let next = match lookup.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => Err(ErrorCode::WouldBlock),
        Poll::Ready(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
        Poll::Ready(Err(code)) => Err(*code),
    };
    Ok((next,))
}

fn wait(
    mut store: Store<'_>,
    (lookup,): (Resource<Lookup>,),
) -> Result<(Resource<DynPollable>,), Error> {
    Ok((subscribe(&mut store.data_mut().table, lookup)?,))
}

/// What a guest may look up.
#[derive(Debug, PartialEq)]
enum Name {
    Address(IpAddr),
    /// In lower case, its labels in ASCII.
    Host(String),
}

/// Takes the names that `wasmtime-wasi` takes: host names of any script, and
/// addresses, those of IPv6 with and without brackets.
fn parse(name: &str) -> Result<Name, ErrorCode> {
    match url::Host::parse(name) {
        Ok(url::Host::Domain(name)) => Ok(Name::Host(name)),
        Ok(url::Host::Ipv4(address)) => Ok(Name::Address(address.into())),
        Ok(url::Host::Ipv6(address)) => Ok(Name::Address(address.into())),
        Err(_) => match name.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Name::Address(address.into())),
            Err(_) => Err(ErrorCode::InvalidArgument),
        },
    }
}

/// The addresses of a host name: from the hosts file, else from the servers.
async fn find(name: &str) -> Result<Vec<IpAddr>, ErrorCode> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let known = files::addresses(&files::read("/etc/hosts"), bare);
    if !known.is_empty() {
        return Ok(known);
    }
    // RFC 6761, section 6.3: no server is asked for these.
    if bare == "localhost" || bare.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    servers::find(name, &files::resolver(&files::read("/etc/resolv.conf"))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hosts_or_addresses() {
        let host = |name: &str| Ok(Name::Host(name.into()));
        assert_eq!(parse("Web_1"), host("web_1"));
        assert_eq!(parse("bücher.example."), host("xn--bcher-kva.example."));
        for (name, address) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("[fe80::1]", "fe80::1"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(parse(name), Ok(Name::Address(address)), "{name}");
        }
        for name in ["", "a b", "a:80", "a/b", "http://a"] {
            assert_eq!(parse(name), Err(ErrorCode::InvalidArgument), "{name}");
        }
    }
}
