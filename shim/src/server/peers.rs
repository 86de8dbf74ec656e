//! The connections of a server.
//!
//! A client written in Go that reads an answer and then the end of the
//! connection may take the end first, and reports the call as failed
//! (containerd's `ttrpc`, `Client.dispatch`). So a server that has given its
//! last answer stays until its clients have hung up.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use ttrpc::asynchronous::transport::Listener;

/// Counts what a listener accepts.
pub struct Peers(watch::Receiver<usize>);

impl Peers {
    /// A listener whose connections are counted, and their count.
    pub fn of(listener: UnixListener) -> (Listener, Self) {
        let (count, seen) = watch::channel(0);
        (Listener::new(Accepts { listener, count }), Self(seen))
    }

    /// Returns when there is a connection.
    pub fn first(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut count = self.0.clone();
        async move {
            let _ = count.wait_for(|count| *count > 0).await;
        }
    }

    /// Returns when every connection is closed, or after `limit`.
    pub async fn gone(mut self, limit: Duration) {
        let closed = self.0.wait_for(|count| *count == 0);
        let _ = tokio::time::timeout(limit, closed).await;
    }
}

struct Accepts {
    listener: UnixListener,
    count: watch::Sender<usize>,
}

impl Stream for Accepts {
    type Item = io::Result<Peer>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = self.listener.poll_accept(context);
        accepted.map(|result| Some(result.map(|(stream, _)| Peer::new(stream, &self.count))))
    }
}

/// A connection that is counted while it is open.
struct Peer {
    stream: UnixStream,
    count: watch::Sender<usize>,
}

impl Peer {
    fn new(stream: UnixStream, count: &watch::Sender<usize>) -> Self {
        let count = count.clone();
        count.send_modify(|count| *count += 1);
        Self { stream, count }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut UnixStream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, buffer)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A server without services on a socket of its own.
    async fn server(folder: &std::path::Path) -> (ttrpc::asynchronous::Server, Peers) {
        let listener = UnixListener::bind(folder.join("socket")).unwrap();
        let (listener, peers) = Peers::of(listener);
        let mut server = ttrpc::asynchronous::Server::new().add_listener(listener);
        server.start().await.unwrap();
        (server, peers)
    }

    #[tokio::test]
    async fn a_server_without_clients_need_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, peers) = server(folder.path()).await;
        let before = Instant::now();
        peers.gone(LONG).await;
        assert!(before.elapsed() < LONG);
    }

    #[tokio::test]
    async fn the_first_client_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, peers) = server(folder.path()).await;
        let wait = tokio::spawn(peers.first());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!wait.is_finished());
        let _client = UnixStream::connect(folder.path().join("socket")).await;
        wait.await.unwrap();
    }

    #[tokio::test]
    async fn the_last_client_that_hangs_up_ends_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, mut peers) = server(folder.path()).await;
        let connect = || UnixStream::connect(folder.path().join("socket"));
        let mut clients = vec![connect().await.unwrap(), connect().await.unwrap()];
        peers.0.wait_for(|count| *count == 2).await.unwrap();
        let wait = tokio::spawn(peers.gone(LONG));
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!wait.is_finished());
            clients.pop();
        }
        let before = Instant::now();
        wait.await.unwrap();
        assert!(before.elapsed() < LONG);
    }

    #[tokio::test]
    async fn a_client_that_stays_is_left_after_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, mut peers) = server(folder.path()).await;
        let _client = UnixStream::connect(folder.path().join("socket")).await;
        peers.0.wait_for(|count| *count == 1).await.unwrap();
        peers.gone(Duration::from_millis(20)).await;
    }
}
