//! What every adapter says alike of a program that it cannot load: the words
//! are part of the guest contract.

use crate::{EngineError, Kind};

/// The header of a core module: magic number, version 1, layer 0.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// The header of a component: magic number, version 13, layer 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

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

    /// A component was given to `engine`, which has none.
    pub fn modules_only(engine: &str) -> Self {
        EngineError::Rejected(format!(
            "a component, and {engine} takes modules only; use an engine that takes components, \
             such as wasmtime"
        ))
    }
}

/// Refuses bytes of the other kind, or of none, with a plainer reason than a
/// parser gives.
///
/// # Errors
///
/// [`EngineError::Rejected`].
pub fn check_kind(wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
    let found = if wasm.starts_with(MODULE) {
        Kind::Module
    } else if wasm.starts_with(COMPONENT) {
        Kind::Component
    } else {
        return Err(EngineError::Rejected(
            "not WebAssembly: its header is unknown".into(),
        ));
    };
    if found == kind {
        return Ok(());
    }
    Err(EngineError::Rejected(format!(
        "a WebAssembly {found}, not a {kind}"
    )))
}

/// The same for an engine that takes modules only.
///
/// # Errors
///
/// As [`check_kind`], and [`EngineError::modules_only`].
pub fn check_module(engine: &str, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
    check_kind(wasm, kind)?;
    match kind {
        Kind::Module => Ok(()),
        Kind::Component => Err(EngineError::modules_only(engine)),
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
    fn a_kind_is_told_by_the_header() {
        let told = |wasm: &[u8], kind| match check_kind(wasm, kind) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(told(MODULE, Kind::Module), "");
        assert_eq!(told(COMPONENT, Kind::Component), "");
        let other = told(COMPONENT, Kind::Module);
        assert_eq!(other, "a WebAssembly component, not a module");
        assert!(told(b"\0asm", Kind::Module).contains("header is unknown"));
        let error = check_module("e", COMPONENT, Kind::Component).unwrap_err();
        assert!(
            error.to_string().contains("e takes modules only"),
            "{error}"
        );
        assert!(check_module("e", MODULE, Kind::Module).is_ok());
    }

    #[test]
    fn only_what_is_beyond_a_limit_is_refused() {
        assert!(check_limit("table", Some(3), "elements", Some(3)).is_ok());
        assert!(check_limit("table", Some(3), "elements", None).is_ok());
        let error = check_limit("table", Some(4), "elements", Some(3)).unwrap_err();
        assert!(matches!(error, EngineError::Limit(_)), "{error}");
    }
}
