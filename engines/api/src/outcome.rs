//! How a run ended.

/// How the run of a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program ended by itself with this exit code: the argument of
    /// `proc_exit`, or 0 when the entry function returned.
    Exit(u8),
    /// The program trapped. The message names the cause and, where the engine
    /// knows it, the function.
    Trap(String),
    /// The program ran into a limit of its handler, such as fuel or stack.
    Limit(String),
    /// The program could not be instantiated.
    Link(String),
    /// The engine failed, none of the program's doing.
    Internal(String),
}

impl Outcome {
    /// The exit status of a program that did not end by itself: 128 + SIGABRT.
    pub const ABORTED: u8 = 134;

    /// The status a container ends with.
    pub fn status(&self) -> u8 {
        match self {
            Outcome::Exit(code) => *code,
            Outcome::Trap(_) | Outcome::Limit(_) | Outcome::Link(_) | Outcome::Internal(_) => {
                Self::ABORTED
            }
        }
    }

    /// What the outcome is called and why it came about, or `None` for an
    /// ordinary exit.
    pub fn failure(&self) -> Option<(&'static str, &str)> {
        match self {
            Outcome::Exit(_) => None,
            Outcome::Trap(why) => Some(("trap", why)),
            Outcome::Limit(why) => Some(("limit", why)),
            Outcome::Link(why) => Some(("link error", why)),
            Outcome::Internal(why) => Some(("internal error", why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exit_keeps_its_own_code() {
        assert_eq!(Outcome::Exit(7).status(), 7);
        assert_eq!(Outcome::Trap("unreachable".into()).status(), 134);
        assert_eq!(
            Outcome::Limit("fuel".into()).failure(),
            Some(("limit", "fuel"))
        );
        assert_eq!(Outcome::Exit(0).failure(), None);
    }
}
