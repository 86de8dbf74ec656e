//! wasmer's errors in the words of the interface.

use trireme_engine::Outcome;
use wasmer::{FrameInfo, InstantiationError, LinkError, RuntimeError};
use wasmer_wasix::WasiError;

/// How a guest ended whose call returned `error`.
pub(crate) fn outcome(error: &RuntimeError) -> Outcome {
    if let Some(WasiError::Exit(code)) = error.downcast_ref() {
        // As the exit code of a Unix process: its low eight bits.
        return Outcome::Exit(code.raw().to_le_bytes()[0]);
    }
    if error.clone().to_trap().is_none() && error.trace().is_empty() {
        return Outcome::Internal(error.message());
    }
    Outcome::Trap(with_function(&error.message(), error))
}

/// How a guest ended that used up its fuel, by the very trap that says so.
pub(crate) fn out_of_fuel(error: &RuntimeError) -> Outcome {
    Outcome::Limit(with_function("out of fuel", error))
}

/// How a guest ended that could not be instantiated.
pub(crate) fn not_instantiated(error: &InstantiationError) -> Outcome {
    match error {
        InstantiationError::Start(error) | InstantiationError::Link(LinkError::Trap(error)) => {
            outcome(error)
        }
        InstantiationError::Link(LinkError::Resource(why)) => Outcome::Internal(format!(
            "{why}; wasmer reserves 8 GiB of address space for each memory, is the limit on \
             address space (RLIMIT_AS) lower?"
        )),
        error => Outcome::Link(error.to_string()),
    }
}

/// Names the function that was running.
fn with_function(cause: &str, error: &RuntimeError) -> String {
    match error.trace().first() {
        Some(frame) => format!("{cause} in function {}", function(frame)),
        None => cause.into(),
    }
}

fn function(frame: &FrameInfo) -> String {
    match frame.function_name() {
        Some(name) => format!("${name}"),
        None => format!("{} (unnamed)", frame.func_index()),
    }
}
