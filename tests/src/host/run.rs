//! The hosts of one run of tests. They have a mark and the run's pid in their names, so that they
//! end with it, however it ends.

use std::path::Path;

use nix::sys::signal::{SigSet, Signal};

use super::{Instance, life};

/// What the names of the hosts of a sort of run have between their kind and the run's pid,
/// `@NAME-`.
#[derive(Debug, Clone, Copy)]
pub struct Mark(pub &'static str);

impl Mark {
    /// The name of this run's host of a kind.
    pub fn name(self, kind: &str) -> String {
        format!("{kind}{}{}", self.0, std::process::id())
    }

    /// Ends the hosts when the run is interrupted, by their names and not through what holds them.
    /// Call it before any thread is started.
    pub fn take_down_on_signals(self) {
        let mut signals = SigSet::empty();
        signals.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        if let Err(error) = signals.thread_block() {
            eprintln!("{}: signals cannot be caught: {error}", self.run());
            return;
        }
        std::thread::spawn(move || {
            let signal = signals.wait();
            self.clear(|pid| pid == std::process::id());
            std::process::exit(128 + signal.map_or(1, |signal| signal as i32));
        });
    }

    /// Ends the hosts of runs that were killed.
    pub fn clear_orphans(self) {
        self.clear(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    }

    /// Ends a host, and says so where that fails.
    pub fn down(self, instance: &Instance) {
        if let Err(error) = life::down(instance) {
            eprintln!(
                "{}: {instance} could not be taken down: {error:#}",
                self.run()
            );
        }
    }

    fn clear(self, is_meant: impl Fn(u32) -> bool) {
        for instance in life::list().unwrap_or_default() {
            let pid = instance
                .name()
                .split_once(self.0)
                .and_then(|(_, pid)| pid.parse().ok());
            if pid.is_some_and(&is_meant) {
                self.down(&instance);
            }
        }
    }

    fn run(self) -> &'static str {
        self.0.trim_matches(['@', '-'])
    }
}
