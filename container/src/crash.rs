//! Named steps at which a test can kill a party.
//!
//! With the feature `crash-steps`, [`step`] reads the file [`NAME`] in
//! [`FOLDER`]: when it holds the step's name, the file is removed and the
//! process kills itself as `kill -9` would. Without the feature it is nothing.

/// The folder of the file that names the step to die at.
pub const FOLDER: &str = "/run/trireme";
/// The file's name.
pub const NAME: &str = "crash-step";

/// Every step, in the order of a container's life.
pub const STEPS: &[&str] = &[
    "after_state",
    "after_clone",
    "after_mount",
    "after_birth",
    "before_ready",
    "after_exit",
    "before_unlink",
];

#[cfg(feature = "crash-steps")]
static KEPT: std::sync::OnceLock<std::os::fd::OwnedFd> = std::sync::OnceLock::new();

/// Keeps the folder in reach of a process that is about to leave the host's
/// root.
#[cfg(feature = "crash-steps")]
pub fn keep() {
    use rustix::fs::{CWD, Mode, OFlags};
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if let Ok(folder) = rustix::fs::openat(CWD, FOLDER, flags, Mode::empty()) {
        let _ = KEPT.set(folder);
    }
}

/// Keeps the folder in reach of a process that is about to leave the host's
/// root.
#[cfg(not(feature = "crash-steps"))]
#[inline(always)]
pub fn keep() {}

/// Dies here if a test asks for it.
#[cfg(feature = "crash-steps")]
pub fn step(name: &str) {
    use rustix::fs::{AtFlags, Mode, OFlags};
    debug_assert!(STEPS.contains(&name));
    if KEPT.get().is_none() {
        keep();
    }
    let Some(folder) = KEPT.get() else { return };
    let wanted = rustix::fs::openat(
        folder,
        NAME,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(std::fs::File::from)
    .ok()
    .and_then(|file| std::io::read_to_string(file).ok());
    if wanted.is_some_and(|wanted| wanted.trim() == name)
        && rustix::fs::unlinkat(folder, NAME, AtFlags::empty()).is_ok()
    {
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        // The first process of a pid namespace is not killed by itself.
        std::process::abort();
    }
}

/// Dies here if a test asks for it.
#[cfg(not(feature = "crash-steps"))]
#[inline(always)]
pub fn step(_name: &str) {}
