//! wasmtime's errors in the words of the interface.

use trireme_engine::Outcome;
use wasmtime::{Error, FrameInfo, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// How a guest ended whose call or instantiation returned `error`.
pub(crate) fn outcome(error: &Error) -> Outcome {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        // As the exit code of a Unix process: its low eight bits.
        return Outcome::Exit(code.to_le_bytes()[0]);
    }
    match error.downcast_ref() {
        Some(Trap::OutOfFuel) => Outcome::Limit(with_function("out of fuel".into(), error)),
        Some(trap) => Outcome::Trap(with_function(trap.to_string(), error)),
        None if error.downcast_ref::<WasmBacktrace>().is_none() => {
            Outcome::Internal(format!("{error:#}"))
        }
        // Neither an exit nor a trap of WebAssembly: a host call gave up.
        None => Outcome::Trap(with_function(
            format!("host call failed: {}", error.root_cause()),
            error,
        )),
    }
}

/// Names the function that was running.
fn with_function(cause: String, error: &Error) -> String {
    let frame = error
        .downcast_ref::<WasmBacktrace>()
        .and_then(|trace| trace.frames().first());
    match frame {
        Some(frame) => format!("{cause} in function {}", function(frame)),
        None => cause,
    }
}

fn function(frame: &FrameInfo) -> String {
    match frame.func_name() {
        Some(name) => format!("${name}"),
        None => format!("{} (unnamed)", frame.func_index()),
    }
}
