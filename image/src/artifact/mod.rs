//! Images whose layers are WebAssembly themselves and not parts of a root file
//! system: which documents lead to them, and which layer is the program.
//!
//! Pure functions of bytes that a registry made up: sizes are bounded, digests
//! are checked before they name anything, and titles are compared and never
//! used as paths. Follows the [OCI image specification
//! 1.1](https://github.com/opencontainers/image-spec/tree/v1.1.0) and the
//! [Wasm artifact layout](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/).

mod choose;
mod digest;
mod document;

pub use choose::{Choice, choose};
pub use digest::{Digest, DigestError};
pub use document::{Descriptor, Document, DocumentError, parse};

/// The largest manifest or index that is read, in bytes. Registries take none
/// that is larger.
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// The largest program, in bytes; the compiler takes none that is larger.
pub const MAX_MODULE: u64 = 1 << 30;
/// How many manifests and indexes of one image are read at most.
pub const MAX_DOCUMENTS: usize = 32;

/// The media types of layers that are WebAssembly, module or component alike:
/// the bytes say which. Layers that claim to be precompiled have others and
/// are left alone.
pub const MODULE_TYPES: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];

/// The annotation that holds a layer's file name.
pub const TITLE: &str = "org.opencontainers.image.title";
