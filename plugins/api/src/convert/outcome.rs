//! How a call or a run ended.

use trireme_engine::{EngineError, Outcome};

use super::{Malformed, line};
use crate::abi;

/// The status of an error, and its message.
pub fn status(error: &EngineError) -> (u32, &str) {
    match error {
        EngineError::Settings(why) => (abi::STATUS_SETTINGS, why),
        EngineError::Rejected(why) => (abi::STATUS_REJECTED, why),
        EngineError::Link(why) => (abi::STATUS_LINK, why),
        EngineError::Limit(why) => (abi::STATUS_LIMIT, why),
        EngineError::Precompiled(why) => (abi::STATUS_PRECOMPILED, why),
        EngineError::Internal(why) => (abi::STATUS_INTERNAL, why),
    }
}

/// The error of a status other than [`abi::STATUS_OK`].
///
/// # Errors
///
/// For a status that stands for nothing.
pub fn error(status: u32, message: &str) -> Result<EngineError, Malformed> {
    let error = match status {
        abi::STATUS_SETTINGS => EngineError::Settings,
        abi::STATUS_REJECTED => EngineError::Rejected,
        abi::STATUS_LINK => EngineError::Link,
        abi::STATUS_LIMIT => EngineError::Limit,
        abi::STATUS_PRECOMPILED => EngineError::Precompiled,
        abi::STATUS_INTERNAL => EngineError::Internal,
        number => {
            return Err(Malformed::Unknown {
                what: "the status",
                number,
            });
        }
    };
    Ok(error(reason(message)))
}

/// The kind and exit code of an outcome, and its message.
pub fn parts(outcome: &Outcome) -> (u32, u32, &str) {
    match outcome {
        Outcome::Exit(code) => (abi::OUTCOME_EXIT, u32::from(*code), ""),
        Outcome::Trap(why) => (abi::OUTCOME_TRAP, 0, why),
        Outcome::Limit(why) => (abi::OUTCOME_LIMIT, 0, why),
        Outcome::Link(why) => (abi::OUTCOME_LINK, 0, why),
        Outcome::Internal(why) => (abi::OUTCOME_INTERNAL, 0, why),
    }
}

/// The outcome of these parts.
///
/// # Errors
///
/// For a kind that stands for nothing, and an exit code over 255.
pub fn outcome(kind: u32, code: u32, message: &str) -> Result<Outcome, Malformed> {
    let failure = match kind {
        abi::OUTCOME_EXIT => {
            return u8::try_from(code)
                .map(Outcome::Exit)
                .map_err(|_| Malformed::Unknown {
                    what: "the exit code",
                    number: code,
                });
        }
        abi::OUTCOME_TRAP => Outcome::Trap,
        abi::OUTCOME_LIMIT => Outcome::Limit,
        abi::OUTCOME_LINK => Outcome::Link,
        abi::OUTCOME_INTERNAL => Outcome::Internal,
        number => {
            return Err(Malformed::Unknown {
                what: "the outcome",
                number,
            });
        }
    };
    Ok(failure(reason(message)))
}

fn reason(message: &str) -> String {
    match line(message) {
        line if line.is_empty() => "the engine gives no reason".into(),
        line => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_keeps_its_kind_and_its_words() {
        for error in [
            EngineError::Settings("a".into()),
            EngineError::Rejected("b".into()),
            EngineError::Link("c".into()),
            EngineError::Limit("d".into()),
            EngineError::Precompiled("e".into()),
            EngineError::Internal("f".into()),
        ] {
            let (status, message) = status(&error);
            let back = super::error(status, message).expect("an error");
            assert_eq!(format!("{back:?}"), format!("{error:?}"));
        }
    }

    #[test]
    fn every_outcome_comes_through_whole() {
        for outcome in [
            Outcome::Exit(255),
            Outcome::Trap("a".into()),
            Outcome::Limit("b".into()),
            Outcome::Link("c".into()),
            Outcome::Internal("d".into()),
        ] {
            let (kind, code, message) = parts(&outcome);
            assert_eq!(super::outcome(kind, code, message), Ok(outcome));
        }
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        assert!(error(77, "").is_err());
        assert!(error(abi::STATUS_OK, "").is_err());
        assert!(outcome(0, 0, "").is_err());
        assert!(outcome(abi::OUTCOME_EXIT, 256, "").is_err());
    }

    #[test]
    fn a_message_is_one_line_and_never_empty() {
        let trap = |message| outcome(abi::OUTCOME_TRAP, 0, message).expect("a trap");
        assert_eq!(
            trap("\n two\nlines\u{1b}[2J"),
            Outcome::Trap("two lines [2J".into())
        );
        assert_eq!(
            trap(" "),
            Outcome::Trap("the engine gives no reason".into())
        );
    }
}
