//! The tree of the Linux programs that are executed in a guest's container.
//!
//! A guest's own tree is nodev, nosuid and noexec, and holds no file system of
//! the kernel. Linux programs get a mount namespace of their own, a copy of the
//! guest's, in which that is put right as the specification has it: what the
//! guest has is shared, so that both see the same files; `/proc`, `/sys`, `/dev`
//! and their like are mounted in the copy alone.
//!
//! The guest may rename every folder of its own root meanwhile. What is mounted
//! below a new file system is therefore looked up from that file system's own
//! root, never by its path.

#[cfg(feature = "native")]
mod devices;
#[cfg(feature = "native")]
mod make;
mod order;

#[cfg(feature = "native")]
pub use make::main;
pub use order::TreeOrder;
