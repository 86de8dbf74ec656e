//! WasmEdge's errors in the words of the interface.

use std::ffi::CStr;

use trireme_engine::{EngineError, Outcome};

use crate::{ffi, log, module};

/// `WasmEdge_ErrCode_Terminated`: the guest has called `proc_exit`.
const TERMINATED: u32 = 0x01;
/// `WasmEdge_ErrCode_CostLimitExceeded`.
const OUT_OF_FUEL: u32 = 0x03;
/// Codes of the phase in which a module is linked with its imports.
const LINKING: std::ops::Range<u32> = 0x300..0x400;
/// Codes of the phase in which it runs.
const RUNNING: std::ops::Range<u32> = 0x400..0x600;

/// What comes before an instruction's place in what WasmEdge logs.
const OFFSET: &str = "Bytecode offset: 0x";

/// A failure of WasmEdge's.
pub(crate) struct Failure {
    code: u32,
    message: String,
    log: Vec<String>,
}

/// Whether a call succeeded, and what WasmEdge says if not.
pub(crate) fn check(result: ffi::Outcome) -> Result<(), Failure> {
    let log = log::take();
    let code = result.code & 0xff_ffff;
    if code == 0 {
        return Ok(());
    }
    // SAFETY: a function without conditions, which returns a constant text.
    let message = unsafe { CStr::from_ptr(ffi::WasmEdge_ResultGetMessage(result)) };
    Err(Failure {
        code,
        message: message.to_string_lossy().into_owned(),
        log,
    })
}

impl Failure {
    /// One that WasmEdge has no code for.
    pub(crate) fn internal(message: &str) -> Self {
        Failure {
            code: u32::MAX,
            message: message.into(),
            log: Vec::new(),
        }
    }

    /// Why a module cannot be taken.
    pub(crate) fn rejected(&self) -> EngineError {
        EngineError::Rejected(format!(
            "not a module that WasmEdge takes: {}",
            self.message
        ))
    }

    /// How a guest ended that ran `wasm`; `exit` tells the argument of `proc_exit`.
    pub(crate) fn outcome(&self, wasm: &[u8], exit: impl FnOnce() -> u32) -> Outcome {
        match self.code {
            // As the exit code of a Unix process: its low eight bits.
            TERMINATED => Outcome::Exit(exit().to_le_bytes()[0]),
            OUT_OF_FUEL => Outcome::Limit(self.with_function("out of fuel", wasm)),
            code if LINKING.contains(&code) => Outcome::Link(self.message.clone()),
            code if RUNNING.contains(&code) => {
                Outcome::Trap(self.with_function(&self.message, wasm))
            }
            _ => Outcome::Internal(self.message.clone()),
        }
    }

    /// Names the function that was running.
    fn with_function(&self, cause: &str, wasm: &[u8]) -> String {
        let offset = self
            .log
            .iter()
            .find_map(|line| line.split_once(OFFSET))
            .and_then(|(_, digits)| u64::from_str_radix(digits.trim(), 16).ok());
        match offset.and_then(|offset| module::function_at(wasm, offset)) {
            Some(function) => format!("{cause} in function {function}"),
            None => cause.into(),
        }
    }
}
