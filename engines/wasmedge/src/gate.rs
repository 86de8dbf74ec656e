//! The way to native code on which a full stack is told.
//!
//! Native code does not look where its stack ends. WasmEdge has a handler of
//! SIGSEGV for loads and stores that are out of bounds, but not on a stack of its
//! own (`system/fault.cpp`): where the guest's is full, the kernel cannot call
//! it and ends the process. WasmEdge sets the handler when it enters native code,
//! and not again when it enters native code from there. So the guest is entered
//! from a function of ours that a module of native code, the gate, calls, and
//! there a handler is set that has a stack.

use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr;
use std::sync::OnceLock;

use trireme_engine::Outcome;

use crate::error::{self, Failure};
use crate::ffi::{self, AstModule, CallingFrame, Text, Value};
use crate::load::Machine;
use crate::owned::Owned;
use crate::run;

/// `(module (import "trireme" "enter" (func)) (func (export "enter") (call 0)))`.
pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x04\x01\x60\0\0\
    \x02\x11\x01\x07trireme\x05enter\0\0\
    \x03\x02\x01\0\
    \x07\x09\x01\x05enter\0\x01\
    \x0a\x06\x01\x04\0\x10\0\x0b";

/// The name of the module that the gate imports, and of the function.
const IMPORTED: Text = Text::of("trireme");
const ENTER: &str = "enter";

/// Bytes of the stack on which the handler runs: it needs little, and the kernel
/// puts the processor's registers there, some 11 KiB of them at most.
const HANDLER_STACK: usize = 1 << 16;
/// How far from the stack's end it may be full, in bytes: above, a function's
/// locals, which are no more than 50,000 vectors; below, what a call pushes.
const ABOVE: usize = 1 << 20;
const BELOW: usize = 4096;

/// What is done behind the gate, and how it ended.
struct Visit<'a> {
    work: &'a dyn Fn() -> Result<(), Failure>,
    ended: Option<Result<(), Failure>>,
}

/// Does `work` behind the gate. A stack that is full there ends the process as a
/// trap of the guest of this name does.
pub(crate) fn through(
    machine: &Machine,
    gate: &Owned<AstModule>,
    guest: &str,
    work: impl Fn() -> Result<(), Failure>,
) -> Result<(), Failure> {
    MESSAGE.get_or_init(|| format!("trireme: wasmedge: {guest}: trap: the stack is full\n"));
    let mut visit = Visit {
        work: &work,
        ended: None,
    };
    let internal = |error: trireme_engine::EngineError| Failure::internal(&error.to_string());
    // SAFETY: all objects are made here; the instance, which the executor looks
    // at, and the function in it are never deleted; the visit outlives the call.
    unsafe {
        let none = ptr::null();
        let ty = Owned::new(
            ffi::WasmEdge_FunctionTypeCreate(none, 0, none, 0),
            ffi::WasmEdge_FunctionTypeDelete,
            "type",
        )
        .map_err(internal)?;
        let instance = Owned::new(
            ffi::WasmEdge_ModuleInstanceCreate(IMPORTED),
            ffi::WasmEdge_ModuleInstanceDelete,
            "instance",
        )
        .map(ManuallyDrop::new)
        .map_err(internal)?;
        let data = (&raw mut visit).cast();
        let function = ffi::WasmEdge_FunctionInstanceCreate(ty.get(), enter, data, 0);
        ffi::WasmEdge_ModuleInstanceAddFunction(instance.get(), Text::of(ENTER), function);
        error::check(ffi::WasmEdge_ExecutorRegisterImport(
            machine.executor.get(),
            machine.store.get(),
            instance.get(),
        ))?;
        run::call(machine, gate, ENTER, 0)?;
    }
    visit
        .ended
        .unwrap_or_else(|| Err(Failure::internal("the gate leads nowhere")))
}

/// Behind the gate.
///
/// # Safety
///
/// `data` must be a [`Visit`].
unsafe extern "C" fn enter(
    data: *mut c_void,
    _: *const CallingFrame,
    _: *const Value,
    _: *mut Value,
) -> ffi::Outcome {
    // SAFETY: the caller's promise; the visit is looked at here alone.
    let visit = unsafe { &mut *data.cast::<Visit<'_>>() };
    visit.ended = Some(match watch() {
        Ok(()) => (visit.work)(),
        Err(error) => Err(Failure::internal(&format!("signals: {error}"))),
    });
    ffi::Outcome { code: 0 }
}

/// The line on standard error, as the executor writes it for other traps.
static MESSAGE: OnceLock<String> = OnceLock::new();
/// WasmEdge's handler.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Sets the handler, for good.
fn watch() -> std::io::Result<()> {
    let stack = libc::stack_t {
        // It may be used until the end of the process.
        ss_sp: Vec::leak(vec![0_u8; HANDLER_STACK]).as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: HANDLER_STACK,
    };
    let done = |result: c_int| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    let handler = on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    // SAFETY: the stack is there for good, and zero is a valid value of what the
    // kernel reads and writes. The handler finds what it needs in place.
    unsafe {
        done(libc::sigaltstack(&raw const stack, ptr::null_mut()))?;
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        done(libc::sigaction(
            libc::SIGSEGV,
            ptr::null(),
            before.as_mut_ptr(),
        ))?;
        BEFORE.get_or_init(|| before.assume_init());
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        done(libc::sigaction(
            libc::SIGSEGV,
            &raw const action,
            ptr::null_mut(),
        ))
    }
}

/// Ends the process where the stack is full, by nothing but what a handler may
/// do; leaves every other fault to WasmEdge.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's description of the fault.
    let (at, stack) = unsafe { ((*info).si_addr() as usize, stack_pointer(context.cast())) };
    if (stack.saturating_sub(BELOW)..stack.saturating_add(ABOVE)).contains(&at) {
        let message = MESSAGE.get().map_or(&[][..], |message| message.as_bytes());
        // SAFETY: the message is there for good.
        unsafe {
            libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len());
            libc::_exit(Outcome::ABORTED.into());
        }
    }
    let before = BEFORE.get().filter(|before| {
        before.sa_flags & libc::SA_SIGINFO != 0 && before.sa_sigaction != libc::SIG_DFL
    });
    // SAFETY: with that flag a handler is such a function; by the default, the
    // fault comes again and ends the process.
    unsafe {
        match before {
            Some(before) => {
                type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                let handler =
                    std::mem::transmute::<libc::sighandler_t, Handler>(before.sa_sigaction);
                handler(signal, info, context);
            }
            None => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// Where the stack ended at a fault.
///
/// # Safety
///
/// The context must be the kernel's.
unsafe fn stack_pointer(context: *const libc::ucontext_t) -> usize {
    // SAFETY: the caller's promise.
    let machine = unsafe { &(*context).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    let pointer = machine.gregs[libc::REG_RSP as usize] as usize;
    #[cfg(target_arch = "aarch64")]
    let pointer = machine.sp as usize;
    pointer
}
