//! The life of a container's process as an explicit state machine.
//!
//! The answers to calls that a state does not allow follow containerd's runc
//! shim (`cmd/containerd-shim-runc-v2/process/init_state.go`), so that clients
//! which match on them find what they know.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The status: an exit code, or 128 + signal.
    pub status: u32,
    /// When the end was seen.
    pub at: SystemTime,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits to be started, with its own pid and namespaces.
    Created,
    /// It runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// It has ended and has not been deleted.
    Stopped(Exit),
}

/// A request that a state may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Let a created process run.
    Start,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Send it a signal.
    Kill,
    /// Run another program beside it.
    Exec,
    /// Change its resources.
    Update,
    /// Remove what is left of it.
    Delete,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The process is gone.
    #[error("{0}")]
    NotFound(&'static str),
    /// Not in this state.
    #[error("{0}")]
    WrongState(&'static str),
}

impl State {
    /// Checks that the request is allowed in this state.
    ///
    /// # Errors
    ///
    /// The refusal, worded as the runc shim words it.
    pub fn allows(self, request: Request) -> Result<(), Refusal> {
        use Request as R;
        use State as S;
        let refusal = match (self, request) {
            (S::Created, R::Start | R::Kill | R::Exec | R::Update | R::Delete)
            | (S::Running, R::Pause | R::Kill | R::Exec | R::Update)
            | (S::Paused, R::Resume | R::Kill | R::Update)
            | (S::Stopped(_), R::Delete) => return Ok(()),
            (S::Stopped(_), R::Kill) => Refusal::NotFound("process already finished"),
            (S::Created, R::Pause) => Refusal::WrongState("cannot pause task in created state"),
            (S::Created, R::Resume) => Refusal::WrongState("cannot resume task in created state"),
            (S::Running, R::Start) => Refusal::WrongState("cannot start a running process"),
            (S::Running, R::Resume) => Refusal::WrongState("cannot resume a running process"),
            (S::Running, R::Delete) => Refusal::WrongState("cannot delete a running process"),
            (S::Paused, R::Start) => Refusal::WrongState("cannot start a paused process"),
            (S::Paused, R::Pause) => Refusal::WrongState("cannot pause a paused container"),
            (S::Paused, R::Exec) => Refusal::WrongState("cannot exec in a paused state"),
            (S::Paused, R::Delete) => Refusal::WrongState("cannot delete a paused process"),
            (S::Stopped(_), R::Start) => Refusal::WrongState("cannot start a stopped process"),
            (S::Stopped(_), R::Pause) => Refusal::WrongState("cannot pause a stopped container"),
            (S::Stopped(_), R::Resume) => Refusal::WrongState("cannot resume a stopped container"),
            (S::Stopped(_), R::Exec) => Refusal::WrongState("cannot exec in a stopped state"),
            (S::Stopped(_), R::Update) => Refusal::WrongState("cannot update a stopped container"),
        };
        Err(refusal)
    }

    /// The state after a request that was allowed and carried out.
    ///
    /// An exit that came in between wins: a stopped process stays stopped.
    #[must_use]
    pub fn after(self, request: Request) -> Self {
        match (self, request) {
            (State::Created, Request::Start) | (State::Paused, Request::Resume) => State::Running,
            (State::Running, Request::Pause) => State::Paused,
            _ => self,
        }
    }

    /// The state after the end of the process; the first end counts.
    #[must_use]
    pub fn ended(self, exit: Exit) -> Self {
        match self {
            State::Stopped(_) => self,
            _ => State::Stopped(exit),
        }
    }

    /// How it ended, once it has.
    pub fn exit(self) -> Option<Exit> {
        match self {
            State::Stopped(exit) => Some(exit),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: Exit = Exit {
        status: 7,
        at: SystemTime::UNIX_EPOCH,
    };

    #[test]
    fn the_ordinary_life_runs_through() {
        let mut state = State::Created;
        for request in [Request::Start, Request::Pause, Request::Resume] {
            state.allows(request).unwrap();
            state = state.after(request);
        }
        assert_eq!(state, State::Running);
        state = state.ended(EXIT);
        state.allows(Request::Delete).unwrap();
        assert_eq!(state.exit(), Some(EXIT));
    }

    #[test]
    fn an_exit_is_not_undone_by_a_request_that_was_under_way() {
        let state = State::Created.ended(EXIT);
        assert_eq!(state.after(Request::Start), State::Stopped(EXIT));
        let later = Exit {
            status: 137,
            ..EXIT
        };
        assert_eq!(state.ended(later), State::Stopped(EXIT));
    }

    #[test]
    fn a_signal_to_a_finished_process_is_not_found() {
        assert!(matches!(
            State::Stopped(EXIT).allows(Request::Kill),
            Err(Refusal::NotFound(_))
        ));
        assert!(matches!(
            State::Running.allows(Request::Delete),
            Err(Refusal::WrongState(_))
        ));
    }

    #[test]
    fn nothing_is_executed_in_what_does_not_run() {
        State::Created.allows(Request::Exec).unwrap();
        State::Running.allows(Request::Exec).unwrap();
        for state in [State::Paused, State::Stopped(EXIT)] {
            let refusal = state.allows(Request::Exec).unwrap_err();
            assert!(matches!(refusal, Refusal::WrongState(_)), "{refusal:?}");
        }
    }
}
