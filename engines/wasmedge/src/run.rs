//! A loaded program to its outcome.

use std::mem::ManuallyDrop;
use std::ptr;

use trireme_engine::{Guest, Outcome, Program};

use crate::code::Mapped;
use crate::error::{self, Failure};
use crate::ffi::{self, AstModule, ModuleInstance};
use crate::load::{self, Machine};
use crate::owned::Owned;
use crate::wasi::Wasi;

/// A module with all that it needs but a guest.
pub(crate) struct Loaded {
    pub(crate) machine: Machine,
    pub(crate) module: Owned<AstModule>,
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
        // WasmEdge has opened the directories itself.
        drop(guest);
        match self.call(&wasi) {
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
            let mut instance: *mut ModuleInstance = ptr::null_mut();
            error::check(ffi::WasmEdge_ExecutorInstantiate(
                executor.get(),
                &raw mut instance,
                store.get(),
                self.module.get(),
            ))?;
            // The end of the process is near: what the guest has is not taken
            // apart.
            let function = Owned::new(instance, ffi::WasmEdge_ModuleInstanceDelete, "instance")
                .map(ManuallyDrop::new)
                .ok()
                .and_then(|instance| load::find(&instance, &self.entry))
                .ok_or_else(|| Failure::internal("the entry function is gone"))?;
            let mut results = vec![ffi::Value::NONE; self.results];
            error::check(ffi::WasmEdge_ExecutorInvoke(
                executor.get(),
                function,
                ptr::null(),
                0,
                results.as_mut_ptr(),
                self.results as u32,
            ))
        }
    }
}
