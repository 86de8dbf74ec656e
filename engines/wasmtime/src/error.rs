//! wasmtime's errors in the words of the interface.

use rustix::io::Errno;
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
            Outcome::Internal(with_remedy(error))
        }
        // An exception that nobody caught, a full heap of the collector, or a
        // host call that gave up: each says so itself.
        None => Outcome::Trap(with_function(error.root_cause().to_string(), error)),
    }
}

/// Says what is short where the kernel only says that something is.
fn with_remedy(error: &Error) -> String {
    match error.root_cause().downcast_ref() {
        Some(&Errno::NOMEM) => format!(
            "{error:#}; wasmtime reserves 4 GiB of address space for each memory, is the limit \
             on address space (RLIMIT_AS) lower?"
        ),
        _ => format!("{error:#}"),
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
