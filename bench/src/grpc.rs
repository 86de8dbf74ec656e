//! gRPC over a socket of the host, without generated code: a call is a path and two messages.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection, which may be cloned and used for several calls at a time.
#[derive(Clone)]
pub struct Connection {
    grpc: Grpc<Channel>,
    namespace: Option<MetadataValue<Ascii>>,
}

impl Connection {
    /// Connects to a socket; `namespace` is containerd's, which CRI has none of.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub async fn open(socket: &str, namespace: Option<&str>) -> Result<Self> {
        let path = Path::new(socket).to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is the connector's; this one only has to be well-formed.
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .with_context(|| format!("connect to {socket}"))?;
        Ok(Self {
            grpc: Grpc::new(channel),
            namespace: namespace.map(str::parse).transpose()?,
        })
    }

    /// Makes one call of the method at `path`, `/SERVICE/METHOD`.
    ///
    /// # Errors
    ///
    /// The server's answer where it is not OK, or when there is none within a minute.
    pub async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        let mut request = Request::new(request);
        if let Some(namespace) = &self.namespace {
            let metadata = request.metadata_mut();
            metadata.insert("containerd-namespace", namespace.clone());
        }
        let answer = async {
            grpc.ready().await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(request, PathAndQuery::from_static(path), codec);
            let answer = answer.await;
            answer.map_err(|status| anyhow!("{}: {}", status.code(), status.message()))
        };
        let answer = tokio::time::timeout(LIMIT, answer).await;
        let answer = answer.with_context(|| format!("{path}: no answer in {LIMIT:?}"))?;
        Ok(answer.with_context(|| path)?.into_inner())
    }
}
