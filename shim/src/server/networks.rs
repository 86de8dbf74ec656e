//! A network namespace in stock.
//!
//! Half of what the kernel does to make a container's process is to set up a network
//! namespace. A server of the node has one made ahead, on a thread of its own, once a
//! container has wanted one. A new namespace takes the host's kernel parameters as they are
//! at that moment, so what is in stock is used within two seconds or not at all.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trireme_container::init::namespaces;

use super::aside::apart;
use super::process::lock;

/// How long no container may have been made before the stock is filled: those that come at
/// once need the processors more, and so does one that has ended and is about to be deleted.
const QUIET: Duration = Duration::from_millis(20);
/// How long what is in stock is good.
const FRESH: Duration = Duration::from_secs(2);

/// The stock: one namespace, or none.
#[derive(Clone, Default)]
pub(super) struct Networks(Arc<Mutex<Stock>>);

#[derive(Default)]
struct Stock {
    namespace: Option<(OwnedFd, Instant)>,
    /// Grows with each call to fill the stock.
    calls: u64,
}

impl Networks {
    /// What is in stock, if it is still good.
    pub(super) fn take(&self) -> Option<OwnedFd> {
        let (namespace, made) = lock(&self.0).namespace.take()?;
        (made.elapsed() < FRESH).then_some(namespace)
    }

    /// Has the stock filled, and emptied again if nobody comes.
    pub(super) fn restock(&self) {
        let stock = self.clone();
        let call = {
            let mut stock = lock(&self.0);
            stock.calls += 1;
            stock.calls
        };
        tokio::spawn(async move {
            sleep(QUIET).await;
            if !stock.is_last(call) {
                return;
            }
            let asked = Instant::now();
            let made = made().await;
            if !stock.is_last(call) {
                return;
            }
            // Where the kernel refuses, a container is told so when it wants one.
            lock(&stock.0).namespace = made.map(|namespace| (namespace, asked));
            sleep(FRESH).await;
            if stock.is_last(call) {
                lock(&stock.0).namespace.take();
            }
        });
    }

    fn is_last(&self, call: u64) -> bool {
        lock(&self.0).calls == call
    }
}

/// A new namespace, made on a thread that ends with it: no other must be left in there, so
/// where there is no thread to be had there is no namespace either.
async fn made() -> Option<OwnedFd> {
    apart(|| namespaces::new_network().ok()).await.flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> OwnedFd {
        std::fs::File::open("/proc/self/ns/net").unwrap().into()
    }

    #[test]
    fn what_is_old_is_not_given_out() {
        let networks = Networks::default();
        assert!(networks.take().is_none());
        lock(&networks.0).namespace = Some((namespace(), Instant::now()));
        assert!(networks.take().is_some());
        assert!(networks.take().is_none(), "it is given out once");
        let made = Instant::now().checked_sub(FRESH).unwrap();
        lock(&networks.0).namespace = Some((namespace(), made));
        assert!(networks.take().is_none());
    }
}
