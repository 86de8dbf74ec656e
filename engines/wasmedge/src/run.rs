//! A loaded program to its outcome.

use std::mem::ManuallyDrop;
use std::ptr;

use trireme_engine::{Guest, Outcome, Program};

use crate::code::Mapped;
use crate::error::{self, Failure};
use crate::ffi::{self, AstModule, ModuleInstance};
use crate::gate;
use crate::load::{self, Machine};
use crate::owned::Owned;
use crate::wasi::Wasi;

/// A module with all that it needs but a guest.
pub(crate) struct Loaded {
    pub(crate) machine: Machine,
    pub(crate) module: Owned<AstModule>,
    /// Leads to native code.
    pub(crate) gate: Option<Owned<AstModule>>,
    pub(crate) code: Mapped,
    pub(crate) entry: String,
    /// How many values the entry function returns.
    pub(crate) results: usize,
    /// An import that needs the network.
    pub(crate) socket: Option<String>,
}

impl Program for Loaded {
    fn run(self: Box<Self>, guest: Guest) -> Outcome {
        if let Some(name) = self.socket.as_ref().filter(|_| !guest.network) {
            return Outcome::Link(format!(
                "import \"{name}\" needs the network, which the handler does not give it"
            ));
        }
        let wasi = match Wasi::of(&guest) {
            Ok(wasi) => wasi,
            Err(why) => return Outcome::Internal(why),
        };
        let name = guest.args.first().cloned().unwrap_or_default();
        // WasmEdge has opened the directories itself.
        drop(guest);
        let ended = match &self.gate {
            Some(gate) => gate::through(&self.machine, gate, &name, || self.call(&wasi)),
            None => self.call(&wasi),
        };
        match ended {
            Ok(()) => Outcome::Exit(0),
            Err(failure) => failure.outcome(self.code.module(), || wasi.exit_code()),
        }
    }
}

impl Loaded {
    fn call(&self, wasi: &Wasi) -> Result<(), Failure> {
        let Machine {
            executor, store, ..
        } = &self.machine;
        let import = wasi.instance().get();
        // SAFETY: all objects live until the guest has ended.
        unsafe {
            error::check(ffi::WasmEdge_ExecutorRegisterImport(
                executor.get(),
                store.get(),
                import,
            ))?;
            call(&self.machine, &self.module, &self.entry, self.results)
        }
    }
}

/// Instantiates a module and calls a function of it that has no parameters.
///
/// # Safety
///
/// What the module imports must live until the process ends.
pub(crate) unsafe fn call(
    machine: &Machine,
    module: &Owned<AstModule>,
    entry: &str,
    results: usize,
) -> Result<(), Failure> {
    let Machine {
        executor, store, ..
    } = machine;
    // SAFETY: all objects live, and the list is as long as it is said to be.
    unsafe {
        let mut instance: *mut ModuleInstance = ptr::null_mut();
        error::check(ffi::WasmEdge_ExecutorInstantiate(
            executor.get(),
            &raw mut instance,
            store.get(),
            module.get(),
        ))?;
        // The end of the process is near: what the guest has is not taken
        // apart.
        let function = Owned::new(instance, ffi::WasmEdge_ModuleInstanceDelete, "instance")
            .map(ManuallyDrop::new)
            .ok()
            .and_then(|instance| load::find(&instance, entry))
            .ok_or_else(|| Failure::internal("the entry function is gone"))?;
        let mut list = vec![ffi::Value::NONE; results];
        error::check(ffi::WasmEdge_ExecutorInvoke(
            executor.get(),
            function,
            ptr::null(),
            0,
            list.as_mut_ptr(),
            results as u32,
        ))
    }
}
