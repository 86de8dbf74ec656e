//! Named steps at which a test can kill a party.
//!
//! With the feature `crash-steps`, [`step`] reads the file named by
//! [`FILE`]: when it holds the step's name, the file is removed and the
//! process kills itself as `kill -9` would. Without the feature it is nothing.

/// The file that names the step to die at.
pub const FILE: &str = "/run/trireme/crash-step";

/// Every step, in the order of a container's life.
pub const STEPS: &[&str] = &[
    "after_state",
    "after_clone",
    "after_mount",
    "before_ready",
    "after_exit",
    "before_unlink",
];

/// Dies here if a test asks for it.
#[cfg(feature = "crash-steps")]
pub fn step(name: &str) {
    debug_assert!(STEPS.contains(&name));
    if std::fs::read_to_string(FILE).is_ok_and(|wanted| wanted.trim() == name)
        && std::fs::remove_file(FILE).is_ok()
    {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Dies here if a test asks for it.
#[cfg(not(feature = "crash-steps"))]
#[inline(always)]
pub fn step(_name: &str) {}
