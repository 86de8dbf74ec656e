//! Events on their way to containerd: one queue, in order, each kept until it
//! is delivered.
//!
//! containerd may be away for as long as its restart takes; what it is told
//! then is the same as if it had been there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use containerd_shim_protos::shim_async::EventsClient;
use tokio::sync::Notify;
use ttrpc::context;

use crate::wire::events::{self, Event, ForwardRequest};

/// The time one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The queue of a server.
#[derive(Clone)]
pub struct Events {
    queue: Arc<Mutex<VecDeque<ForwardRequest>>>,
    changed: Arc<Notify>,
    namespace: Arc<str>,
}

impl Events {
    /// An empty queue and the task that delivers what is put there.
    pub fn start(address: String, namespace: &str) -> Self {
        let events = Events {
            queue: Arc::default(),
            changed: Arc::default(),
            namespace: namespace.into(),
        };
        tokio::spawn(events.clone().deliver(address));
        events
    }

    /// Puts an event in the queue.
    pub fn send(&self, event: &Event) {
        self.lock()
            .push_back(events::envelope(&self.namespace, event));
        self.changed.notify_waiters();
    }

    /// Waits until the queue is empty, but no longer than `patience`.
    pub async fn drained(&self, patience: Duration) {
        let empty = async {
            loop {
                let changed = self.changed.notified();
                if self.lock().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(patience, empty).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<ForwardRequest>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(self, address: String) {
        let mut client = None;
        let mut pause = PAUSES.0;
        loop {
            let changed = self.changed.notified();
            let Some(request) = self.lock().front().cloned() else {
                changed.await;
                continue;
            };
            // Whoever asked for what is told here is answered first, as far as this thread decides.
            tokio::task::yield_now().await;
            if forward(&mut client, &address, &request).await {
                self.lock().pop_front();
                self.changed.notify_waiters();
                pause = PAUSES.0;
            } else {
                client = None;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Whether the event was taken. An answer of containerd's, even a refusal, is
/// final: the same event would be refused again.
async fn forward(
    client: &mut Option<EventsClient>,
    address: &str,
    request: &ForwardRequest,
) -> bool {
    if client.is_none() {
        let connected = ttrpc::asynchronous::Client::connect(&format!("unix://{address}")).await;
        *client = connected.ok().map(EventsClient::new);
    }
    let Some(client) = client else { return false };
    match client
        .forward(context::with_duration(TIMEOUT), request)
        .await
    {
        Ok(_) => true,
        Err(ttrpc::Error::RpcStatus(status)) => status.code() != ttrpc::Code::DEADLINE_EXCEEDED,
        Err(_) => false,
    }
}
