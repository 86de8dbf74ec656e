//! What runs the guest of a case.

/// A runtime and the form of the guests that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Trireme, one server for each pod.
    PerPod,
    /// Trireme, one server for all pods.
    PerNode,
    /// runc and guests built for Linux.
    Runc,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::PerPod, Self::PerNode, Self::Runc];

    pub fn name(self) -> &'static str {
        match self {
            Self::PerPod => "per_pod",
            Self::PerNode => "per_node",
            Self::Runc => "runc",
        }
    }

    pub fn is_wasm(self) -> bool {
        self != Self::Runc
    }

    pub fn runtime(self) -> &'static str {
        match self {
            Self::PerPod => "io.containerd.wasmtime.v1",
            Self::PerNode => "io.containerd.wasm-node.v1",
            Self::Runc => "io.containerd.runc.v2",
        }
    }

    /// The runtime whose handler gives a compiler little time; see [`CONFIG`].
    pub fn impatient_runtime(self) -> &'static str {
        match self {
            Self::PerPod => "io.containerd.trireme.v1",
            Self::PerNode => "io.containerd.wasm.v1",
            Self::Runc => "io.containerd.runc.v2",
        }
    }

    pub fn image(self) -> &'static str {
        match self {
            Self::Runc => "trireme.test/native:latest",
            _ => "trireme.test/guests:latest",
        }
    }
}

/// `/etc/trireme/config.toml` of the hosts: the defaults, but servers that leave at once, since
/// they are looked for after each case, and two handlers with little patience.
pub const CONFIG: &str = r#"
[server]
idle_timeout = "100ms"

[handlers.trireme]
engine = "wasmtime"
limits = { compile_timeout = "2s" }

[handlers.wasm]
engine = "wasmtime"
server = "per-node"
limits = { compile_timeout = "2s" }
"#;
