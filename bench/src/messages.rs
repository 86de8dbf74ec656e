//! As much of containerd's and CRI's messages as benchmarks use. Fields are named and numbered as in
//! `api/services` of github.com/containerd/containerd and `v1/api.proto` of k8s.io/cri-api.

use std::collections::HashMap;

use prost::Message;

/// `google.protobuf.Empty`, and any answer whose content is of no interest.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `containerd.runc.v1.Options`.
#[derive(Clone, PartialEq, Message)]
pub struct RuncOptions {
    #[prost(string, tag = "6")]
    pub binary_name: String,
}

/// `containerd.services.containers.v1`.
pub mod containers {
    use super::{Any, HashMap, Message};

    #[derive(Clone, PartialEq, Message)]
    pub struct Container {
        #[prost(string, tag = "1")]
        pub id: String,
        #[prost(map = "string, string", tag = "2")]
        pub labels: HashMap<String, String>,
        #[prost(string, tag = "3")]
        pub image: String,
        #[prost(message, optional, tag = "4")]
        pub runtime: Option<Runtime>,
        #[prost(message, optional, tag = "5")]
        pub spec: Option<Any>,
        #[prost(string, tag = "6")]
        pub snapshotter: String,
        #[prost(string, tag = "7")]
        pub snapshot_key: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Runtime {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, optional, tag = "2")]
        pub options: Option<Any>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Create {
        #[prost(message, optional, tag = "1")]
        pub container: Option<Container>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Delete {
        #[prost(string, tag = "1")]
        pub id: String,
    }
}

/// `containerd.services.snapshots.v1`.
pub mod snapshots {
    use super::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Prepare {
        #[prost(string, tag = "1")]
        pub snapshotter: String,
        #[prost(string, tag = "2")]
        pub key: String,
        #[prost(string, tag = "3")]
        pub parent: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Mounts {
        #[prost(message, repeated, tag = "1")]
        pub mounts: Vec<Mount>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Mount {
        #[prost(string, tag = "1")]
        pub r#type: String,
        #[prost(string, tag = "2")]
        pub source: String,
        #[prost(string, tag = "3")]
        pub target: String,
        #[prost(string, repeated, tag = "4")]
        pub options: Vec<String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Remove {
        #[prost(string, tag = "1")]
        pub snapshotter: String,
        #[prost(string, tag = "2")]
        pub key: String,
    }
}

/// `containerd.services.tasks.v1`.
pub mod tasks {
    use super::{Any, Message, snapshots::Mount};

    #[derive(Clone, PartialEq, Message)]
    pub struct Create {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(message, repeated, tag = "3")]
        pub rootfs: Vec<Mount>,
        #[prost(string, tag = "5")]
        pub stdout: String,
        #[prost(string, tag = "6")]
        pub stderr: String,
        #[prost(message, optional, tag = "9")]
        pub options: Option<Any>,
    }

    /// Of Start, Wait and Delete.
    #[derive(Clone, PartialEq, Message)]
    pub struct Named {
        #[prost(string, tag = "1")]
        pub container_id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Kill {
        #[prost(string, tag = "1")]
        pub container_id: String,
        #[prost(uint32, tag = "3")]
        pub signal: u32,
        #[prost(bool, tag = "4")]
        pub all: bool,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Exit {
        #[prost(uint32, tag = "1")]
        pub exit_status: u32,
    }
}

/// `ttrpc` of github.com/containerd/ttrpc.
pub mod ttrpc {
    use super::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Request {
        #[prost(string, tag = "1")]
        pub service: String,
        #[prost(string, tag = "2")]
        pub method: String,
        #[prost(bytes = "vec", tag = "3")]
        pub payload: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Response {
        #[prost(message, optional, tag = "1")]
        pub status: Option<Status>,
        #[prost(bytes = "vec", tag = "2")]
        pub payload: Vec<u8>,
    }

    /// `google.rpc.Status`.
    #[derive(Clone, PartialEq, Message)]
    pub struct Status {
        #[prost(int32, tag = "1")]
        pub code: i32,
        #[prost(string, tag = "2")]
        pub message: String,
    }
}

/// `containerd.task.v2`, which shims serve.
pub mod shim {
    use super::{Message, snapshots::Mount};

    #[derive(Clone, PartialEq, Message)]
    pub struct Create {
        #[prost(string, tag = "1")]
        pub id: String,
        #[prost(string, tag = "2")]
        pub bundle: String,
        #[prost(message, repeated, tag = "3")]
        pub rootfs: Vec<Mount>,
        #[prost(string, tag = "6")]
        pub stdout: String,
        #[prost(string, tag = "7")]
        pub stderr: String,
    }

    /// Of Start, Wait and Delete.
    #[derive(Clone, PartialEq, Message)]
    pub struct Named {
        #[prost(string, tag = "1")]
        pub id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Kill {
        #[prost(string, tag = "1")]
        pub id: String,
        #[prost(uint32, tag = "3")]
        pub signal: u32,
        #[prost(bool, tag = "4")]
        pub all: bool,
    }
}

/// `runtime.v1`, which is CRI.
pub mod cri {
    use super::{HashMap, Message};

    #[derive(Clone, PartialEq, Message)]
    pub struct RunPodSandbox {
        #[prost(message, optional, tag = "1")]
        pub config: Option<PodConfig>,
        #[prost(string, tag = "2")]
        pub runtime_handler: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct PodConfig {
        #[prost(message, optional, tag = "1")]
        pub metadata: Option<PodMetadata>,
        #[prost(string, tag = "3")]
        pub log_directory: String,
        #[prost(map = "string, string", tag = "6")]
        pub labels: HashMap<String, String>,
        #[prost(message, optional, tag = "8")]
        pub linux: Option<PodLinux>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct PodMetadata {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub uid: String,
        #[prost(string, tag = "3")]
        pub namespace: String,
        #[prost(uint32, tag = "4")]
        pub attempt: u32,
    }

    /// `LinuxPodSandboxConfig`.
    #[derive(Clone, PartialEq, Message)]
    pub struct PodLinux {
        #[prost(message, optional, tag = "2")]
        pub security_context: Option<PodSecurity>,
    }

    /// `LinuxSandboxSecurityContext`.
    #[derive(Clone, PartialEq, Message)]
    pub struct PodSecurity {
        #[prost(message, optional, tag = "1")]
        pub namespace_options: Option<Namespaces>,
        #[prost(message, optional, tag = "9")]
        pub seccomp: Option<Profile>,
    }

    /// `SecurityProfile`.
    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct Profile {
        /// 0: that of containerd itself.
        #[prost(int32, tag = "1")]
        pub kind: i32,
    }

    /// `NamespaceOption`.
    #[derive(Clone, PartialEq, Message)]
    pub struct Namespaces {
        /// 1: each container has its own, as Kubernetes asks for by default.
        #[prost(int32, tag = "2")]
        pub pid: i32,
    }

    /// The answer to `RunPodSandbox`, and the argument of `StopPodSandbox` and `RemovePodSandbox`.
    #[derive(Clone, PartialEq, Message)]
    pub struct Pod {
        #[prost(string, tag = "1")]
        pub id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct CreateContainer {
        #[prost(string, tag = "1")]
        pub pod: String,
        #[prost(message, optional, tag = "2")]
        pub config: Option<ContainerConfig>,
        #[prost(message, optional, tag = "3")]
        pub pod_config: Option<PodConfig>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct ContainerConfig {
        #[prost(message, optional, tag = "1")]
        pub metadata: Option<ContainerMetadata>,
        #[prost(message, optional, tag = "2")]
        pub image: Option<Image>,
        #[prost(string, repeated, tag = "3")]
        pub command: Vec<String>,
        #[prost(string, tag = "11")]
        pub log_path: String,
        #[prost(message, optional, tag = "15")]
        pub linux: Option<ContainerLinux>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct ContainerMetadata {
        #[prost(string, tag = "1")]
        pub name: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Image {
        #[prost(string, tag = "1")]
        pub image: String,
    }

    /// `LinuxContainerConfig`.
    #[derive(Clone, PartialEq, Message)]
    pub struct ContainerLinux {
        #[prost(message, optional, tag = "2")]
        pub security_context: Option<ContainerSecurity>,
    }

    /// `LinuxContainerSecurityContext`.
    #[derive(Clone, PartialEq, Message)]
    pub struct ContainerSecurity {
        #[prost(message, optional, tag = "3")]
        pub namespace_options: Option<Namespaces>,
    }

    /// The answer to `CreateContainer`, and the argument of `StartContainer`.
    #[derive(Clone, PartialEq, Message)]
    pub struct Container {
        #[prost(string, tag = "1")]
        pub id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct List {
        #[prost(message, optional, tag = "1")]
        pub filter: Option<Filter>,
    }

    /// `PodSandboxFilter`.
    #[derive(Clone, PartialEq, Message)]
    pub struct Filter {
        #[prost(map = "string, string", tag = "3")]
        pub labels: HashMap<String, String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Pods {
        #[prost(message, repeated, tag = "1")]
        pub items: Vec<Pod>,
    }
}
