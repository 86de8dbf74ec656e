//! What every adapter says alike of a program that it cannot load: the words
//! are part of the guest contract.

use crate::EngineError;

/// How many exports a message lists.
const LISTED: usize = 10;

impl EngineError {
    /// The entry function `name` is not there; `exports` are the functions that
    /// are.
    pub fn no_function(name: &str, exports: impl Iterator<Item = String>) -> Self {
        let mut names: Vec<_> = exports.map(|export| format!("\"{export}\"")).collect();
        let more = names.len().saturating_sub(LISTED);
        names.truncate(LISTED);
        let listed = match names.is_empty() {
            true => "none".into(),
            false => names.join(", "),
        };
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        EngineError::Link(format!(
            "no exported function \"{name}\"; exported functions: {listed}{more}"
        ))
    }

    /// The entry function `name` cannot be called without arguments.
    pub fn takes_parameters(name: &str) -> Self {
        EngineError::Link(format!(
            "the function \"{name}\" takes parameters and cannot be the entry"
        ))
    }
}

/// Refuses a program that needs more of something (`what`, counted in `unit`)
/// from its first moment than the handler's limit allows.
///
/// # Errors
///
/// [`EngineError::Limit`] with [`too_much`].
pub fn check_limit(
    what: &str,
    needed: Option<u64>,
    unit: &str,
    allowed: Option<u64>,
) -> Result<(), EngineError> {
    match (needed, allowed) {
        (Some(needed), Some(allowed)) if needed > allowed => {
            Err(EngineError::Limit(too_much(what, needed, unit, allowed)))
        }
        _ => Ok(()),
    }
}

/// Why a program that needs `needed` from its first moment is refused.
pub fn too_much(what: &str, needed: u64, unit: &str, allowed: u64) -> String {
    format!("its {what} starts with {needed} {unit}; the handler's limit {what} is {allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_function_is_told_with_what_is_there() {
        let told = |count: usize| {
            let exports = (0..count).map(|number| format!("f{number}"));
            EngineError::no_function("run", exports).to_string()
        };
        assert!(told(0).ends_with("functions: none"), "{}", told(0));
        assert!(
            told(2).ends_with("functions: \"f0\", \"f1\""),
            "{}",
            told(2)
        );
        assert!(told(12).ends_with("\"f9\" and 2 more"), "{}", told(12));
    }

    #[test]
    fn only_what_is_beyond_a_limit_is_refused() {
        assert!(check_limit("table", Some(3), "elements", Some(3)).is_ok());
        assert!(check_limit("table", Some(3), "elements", None).is_ok());
        let error = check_limit("table", Some(4), "elements", Some(3)).unwrap_err();
        assert!(matches!(error, EngineError::Limit(_)), "{error}");
    }
}
