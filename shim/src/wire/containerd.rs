//! The few messages of containerd's own gRPC services that lead from a
//! container to the bytes of its image, with the fields that are of use here
//! ([containerd's API](https://github.com/containerd/containerd/tree/main/api),
//! the same from 1.6 to 2.3). Written by hand, so that building needs no
//! `protoc`.

use std::collections::HashMap;

use prost::Message;

/// `containerd.services.containers.v1.Containers/Get`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct GetContainerRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct GetContainerResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) container: Option<Container>,
}

/// A container's record.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Container {
    /// The name of the image; who made the container may have left it out.
    #[prost(string, tag = "3")]
    pub(crate) image: String,
}

/// `containerd.services.images.v1.Images/Get`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct GetImageRequest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct GetImageResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) image: Option<Image>,
}

/// An image's record.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Image {
    #[prost(message, optional, tag = "3")]
    pub(crate) target: Option<Target>,
}

/// What an image's name leads to.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Target {
    #[prost(string, tag = "1")]
    pub(crate) media_type: String,
    #[prost(string, tag = "2")]
    pub(crate) digest: String,
    #[prost(int64, tag = "3")]
    pub(crate) size: i64,
}

/// `containerd.services.content.v1.Content/Info`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct InfoRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) info: Option<Info>,
}

/// What the content store knows of a blob.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Info {
    /// In bytes.
    #[prost(int64, tag = "2")]
    pub(crate) size: i64,
}

/// `containerd.services.content.v1.Content/Read`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ReadContentRequest {
    #[prost(string, tag = "1")]
    pub(crate) digest: String,
}

/// One of the pieces that it answers with.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ReadContentResponse {
    #[prost(int64, tag = "1")]
    pub(crate) offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
}

/// `containerd.services.introspection.v1.Introspection/Plugins`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PluginsRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) filters: Vec<String>,
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PluginsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) plugins: Vec<Plugin>,
}

/// A plugin of containerd.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Plugin {
    #[prost(map = "string, string", tag = "5")]
    pub(crate) exports: HashMap<String, String>,
}
