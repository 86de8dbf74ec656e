//! What the tests of Trireme need around them: test hosts (private machines with a real
//! containerd), and the processes and paths they are made of.

#[cfg(feature = "protocol")]
pub mod critest;
pub mod engines;
#[cfg(feature = "guests")]
pub mod guests;
pub mod host;
pub mod leaks;
pub mod paths;
pub mod process;
#[cfg(feature = "protocol")]
pub mod protocol;
#[cfg(feature = "guests")]
pub mod registry;
