//! The engines as the tests know them: where each is tried, and where each differs from the guest
//! contract. What is listed here is checked by the end-to-end tests.

pub mod differences;
#[cfg(feature = "protocol")]
pub mod page;

/// An engine that the tests try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// wasmtime, linked in. What it does is what the others are held against.
    Wasmtime,
    /// wasmer, linked in.
    Wasmer,
    /// wasmi, a plugin.
    Wasmi,
    /// WasmEdge, a plugin, where its library can be loaded.
    WasmEdge,
}

impl Engine {
    /// Every engine there is.
    pub const ALL: &[Self] = &[Self::Wasmtime, Self::Wasmer, Self::Wasmi, Self::WasmEdge];

    /// The name by which handlers select it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime",
            Self::Wasmer => "wasmer",
            Self::Wasmi => "wasmi",
            Self::WasmEdge => "wasmedge",
        }
    }

    /// The file name of the plugin that holds it, in `lib/trireme/engines`; none if it is linked
    /// in.
    pub fn plugin(self) -> Option<&'static str> {
        match self {
            Self::Wasmtime | Self::Wasmer => None,
            Self::Wasmi => Some("libtrireme_wasmi.so"),
            Self::WasmEdge => Some("libtrireme_wasmedge.so"),
        }
    }

    /// Whether a host of this kind has what the engine needs.
    pub fn is_on(self, kind: &str) -> bool {
        match self {
            Self::Wasmtime => true,
            // What is tried there does not depend on the engine.
            Self::Wasmer | Self::Wasmi => !kind.starts_with("cgroup"),
            // libwasmedge 0.17 of Debian needs its libc.
            Self::WasmEdge => kind.starts_with("forky"),
        }
    }
}
