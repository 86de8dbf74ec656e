//! OCI image archives for WebAssembly programs.
//!
//! [`build_archive`] writes what `ctr image import` and other tools that read
//! an [OCI image layout](https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md)
//! take: one image of one uncompressed layer that holds the program, or that is
//! the program. The same input gives the same bytes. [`artifact`] reads images of
//! the second sort.

mod archive;
pub mod artifact;
mod layer;
mod options;
mod reference;

pub use archive::{Built, build_archive};
pub use options::{ExtraFile, Format, ImageError, Options, Platform, Program};
pub use reference::{Reference, ReferenceError};
