//! containerd's own gRPC API, as far as it leads to an image's bytes.

use std::fs::File;
use std::path::PathBuf;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use trireme_image::artifact::Digest;

use super::find::FetchError;
use crate::wire::containerd as api;

/// The largest message that is taken; containerd sends content in pieces of a
/// mebibyte.
const MAX_MESSAGE: usize = 16 << 20;

/// A connection in one namespace.
pub struct Containerd {
    grpc: Grpc<Channel>,
    namespace: MetadataValue<Ascii>,
}

impl Containerd {
    /// Connects to the socket at this address, a path or `unix://` and a path.
    pub async fn connect(address: &str, namespace: &str) -> Result<Self, FetchError> {
        let failed = |reason: String| FetchError::Unreachable {
            address: address.to_owned(),
            reason,
        };
        let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
        let namespace = namespace
            .parse()
            .map_err(|_| failed(format!("{namespace:?} is no namespace")))?;
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is the connector's; this one only has to be well-formed.
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|error| failed(trireme_core::message::of(&error)))?;
        Ok(Containerd {
            grpc: Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE),
            namespace,
        })
    }

    /// The name of a container's image; empty where its maker gave none.
    pub async fn image_of(&self, id: &str) -> Result<String, FetchError> {
        let request = api::GetContainerRequest { id: id.to_owned() };
        let path = "/containerd.services.containers.v1.Containers/Get";
        let answer: Option<api::GetContainerResponse> = self.call(path, request).await?;
        let container = answer.and_then(|answer| answer.container);
        Ok(container.unwrap_or_default().image)
    }

    /// What an image's name leads to, or `None` where there is no such image.
    pub async fn target(&self, image: &str) -> Result<Option<api::Target>, FetchError> {
        let request = api::GetImageRequest {
            name: image.to_owned(),
        };
        let path = "/containerd.services.images.v1.Images/Get";
        let answer: Option<api::GetImageResponse> = self.call(path, request).await?;
        Ok(answer.and_then(|answer| answer.image?.target))
    }

    /// The size in bytes of a blob that this namespace has, or `None`.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>, FetchError> {
        let request = api::InfoRequest {
            digest: digest.to_string(),
        };
        let path = "/containerd.services.content.v1.Content/Info";
        let answer: Option<api::InfoResponse> = self.call(path, request).await?;
        let info = answer.and_then(|answer| answer.info);
        Ok(info.and_then(|info| u64::try_from(info.size).ok()))
    }

    /// The folder of the content store, where containerd tells it.
    pub async fn content_root(&self) -> Result<Option<PathBuf>, FetchError> {
        let request = api::PluginsRequest {
            filters: vec!["type==io.containerd.content.v1,id==content".to_owned()],
        };
        let path = "/containerd.services.introspection.v1.Introspection/Plugins";
        let answer: Option<api::PluginsResponse> = self.call(path, request).await?;
        let plugins = answer.map(|answer| answer.plugins).unwrap_or_default();
        let root = plugins
            .into_iter()
            .find_map(|mut plugin| plugin.exports.remove("root"));
        Ok(root.map(PathBuf::from).filter(|root| root.is_absolute()))
    }

    /// Reads a blob, piece by piece, and stops beyond `max` bytes.
    pub async fn read(
        &self,
        digest: &Digest,
        max: u64,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<u64, FetchError> {
        const PATH: &str = "/containerd.services.content.v1.Content/Read";
        let request = api::ReadContentRequest {
            digest: digest.to_string(),
        };
        let mut grpc = self.ready(PATH).await?;
        let codec = ProstCodec::<_, api::ReadContentResponse>::default();
        let path = PathAndQuery::from_static(PATH);
        let mut pieces: Streaming<api::ReadContentResponse> = grpc
            .server_streaming(self.request(request), path, codec)
            .await
            .map_err(|status| failed(PATH, &status))?
            .into_inner();
        let mut total = 0;
        while let Some(piece) = pieces
            .message()
            .await
            .map_err(|status| failed(PATH, &status))?
        {
            total += piece.data.len() as u64;
            if total > max {
                break;
            }
            take(&piece.data).map_err(FetchError::Keep)?;
        }
        Ok(total)
    }

    /// One call; `None` for what containerd does not find.
    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<Option<A>, FetchError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.ready(path).await?;
        let codec = ProstCodec::<Q, A>::default();
        let uri = PathAndQuery::from_static(path);
        match grpc.unary(self.request(request), uri, codec).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(failed(path, &status)),
        }
    }

    async fn ready(&self, path: &'static str) -> Result<Grpc<Channel>, FetchError> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| FetchError::Call {
            call: path,
            reason: trireme_core::message::of(&error),
        })?;
        Ok(grpc)
    }

    /// A request in the connection's namespace (containerd `pkg/namespaces/grpc.go`).
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace = self.namespace.clone();
        request
            .metadata_mut()
            .insert("containerd-namespace", namespace);
        request
    }
}

fn failed(call: &'static str, status: &Status) -> FetchError {
    FetchError::Call {
        call,
        reason: format!("{:?}: {}", status.code(), status.message()),
    }
}

/// The file of a blob below the root of the content store (containerd
/// `plugins/content/local/store.go`), or `None` where it is not what containerd
/// says: the store may be out of this process's sight, or be another's.
pub fn open(root: &std::path::Path, digest: &Digest, size: u64) -> Option<File> {
    use rustix::fs::{CWD, Mode, OFlags};
    let path = root
        .join("blobs")
        .join(digest.algorithm())
        .join(digest.hex());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?;
    rustix::fs::fcntl_setfl(&fd, OFlags::empty()).ok()?;
    let file = File::from(fd);
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.len() == size).then_some(file)
}
