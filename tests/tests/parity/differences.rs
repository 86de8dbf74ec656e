//! Where Trireme answers otherwise than the runc shim, and why.

use trireme_tests::protocol::states::State;

/// Answers that differ.
pub struct Difference {
    pub method: &'static str,
    pub states: &'static [State],
    /// The kinds of hosts whose runc shim answers so.
    pub hosts: &'static [&'static str],
    /// What the runc shim answers; with `…` at its end, what its answer begins with.
    pub theirs: &'static str,
    /// Why Trireme does not.
    pub reason: &'static str,
}

impl Difference {
    pub fn is_of(&self, host: &str, method: &str, state: State) -> bool {
        self.hosts.contains(&host) && self.method == method && self.states.contains(&state)
    }

    pub fn fits(&self, theirs: &str) -> bool {
        match self.theirs.strip_suffix('…') {
            Some(beginning) => theirs.starts_with(beginning),
            None => theirs == self.theirs,
        }
    }
}

const ALL: &[&str] = &["bookworm", "containerd-2.3", "forky", "trixie"];
const NO_CHECKPOINT: &str = "an engine's state cannot be saved";

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        method: "Create",
        states: &[
            State::Created,
            State::Running,
            State::Paused,
            State::Stopped,
        ],
        hosts: ALL,
        theirs: "UNKNOWN: OCI runtime create failed: …",
        reason: "the status says what is the case; containerd itself never asks twice",
    },
    Difference {
        method: "Checkpoint",
        states: &[State::Created],
        hosts: ALL,
        theirs: "UNKNOWN: cannot checkpoint a task in created state",
        reason: NO_CHECKPOINT,
    },
    // Without CRIU, which the hosts do not have, runc fails as well, in its own words.
    Difference {
        method: "Checkpoint",
        states: &[State::Running, State::Paused],
        hosts: ALL,
        theirs: "UNKNOWN: runc did not terminate successfully: …",
        reason: NO_CHECKPOINT,
    },
    Difference {
        method: "Checkpoint",
        states: &[State::Stopped],
        hosts: ALL,
        theirs: "UNKNOWN: cannot checkpoint a stopped container",
        reason: NO_CHECKPOINT,
    },
    Difference {
        method: "exec CloseIO",
        states: &[State::Unknown, State::Deleted],
        hosts: ALL,
        theirs: "UNKNOWN: process does not exist another: not found",
        reason: "the status says what is the case, as it does for every other method",
    },
];
