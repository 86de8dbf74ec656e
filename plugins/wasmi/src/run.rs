//! A loaded program to its outcome.

use std::io::Write;

use trireme_engine::{Guest, Outcome, Program};
use wasmi::errors::{ErrorKind, InstantiationError, MemoryError, TableError};
use wasmi::{Error, Linker, Module, Store, TrapCode, Val};
use wasmi_wasi::WasiCtx;
use wasmi_wasi::sync::stdio;

use crate::folder::Folder;
use crate::load::Host;

/// A module with all that it needs but a guest.
pub(crate) struct Loaded {
    pub(crate) linker: Linker<Host>,
    pub(crate) module: Module,
    pub(crate) store: Store<Host>,
    pub(crate) entry: String,
}

impl Program for Loaded {
    fn run(mut self: Box<Self>, guest: Guest) -> Outcome {
        if let Err(why) = provide(&mut self.store.data_mut().wasi, guest) {
            return Outcome::Internal(why);
        }
        let called = self.call();
        // What this cannot write any more, the guest was told of.
        let _ = std::io::stdout().flush();
        called.map_or_else(|error| outcome(&error), |()| Outcome::Exit(0))
    }
}

impl Loaded {
    fn call(&mut self) -> Result<(), Error> {
        let instance = self
            .linker
            .instantiate_and_start(&mut self.store, &self.module)?;
        let function = instance
            .get_func(&self.store, &self.entry)
            .ok_or_else(|| Error::new("the entry function is gone"))?;
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        function.call(&mut self.store, &[], &mut results)
    }
}

/// Gives the guest its arguments, environment, stdio and directories.
fn provide(wasi: &mut WasiCtx, guest: Guest) -> Result<(), String> {
    for arg in &guest.args {
        wasi.push_arg(arg).map_err(|error| error.to_string())?;
    }
    for (key, value) in &guest.env {
        wasi.push_env(key, value)
            .map_err(|error| error.to_string())?;
    }
    wasi.set_stdin(Box::new(stdio::stdin()));
    wasi.set_stdout(Box::new(stdio::stdout()));
    wasi.set_stderr(Box::new(stdio::stderr()));
    for directory in guest.directories {
        let name = directory.name.clone();
        wasi.push_preopened_dir(Box::new(Folder::new(directory)), name)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn outcome(error: &Error) -> Outcome {
    if let Some(code) = error.i32_exit_status() {
        // As the exit code of a Unix process: its low eight bits.
        return Outcome::Exit(code.to_le_bytes()[0]);
    }
    match error.kind() {
        ErrorKind::Instantiation(InstantiationError::FailedToInstantiateMemory(
            MemoryError::ResourceLimiterDeniedAllocation,
        )) => {
            return Outcome::Limit("its memory starts beyond the handler's limit memory".into());
        }
        ErrorKind::Instantiation(InstantiationError::FailedToInstantiateTable(
            TableError::ResourceLimiterDeniedAllocation,
        )) => {
            return Outcome::Limit("its table starts beyond the handler's limit table".into());
        }
        ErrorKind::Linker(_) | ErrorKind::Instantiation(_) => {
            return Outcome::Link(error.to_string());
        }
        _ => {}
    }
    match error.as_trap_code() {
        Some(TrapCode::OutOfFuel) => Outcome::Limit("out of fuel".into()),
        Some(TrapCode::StackOverflow) => Outcome::Trap("call stack exhausted".into()),
        Some(_) => Outcome::Trap(error.to_string()),
        None => Outcome::Internal(error.to_string()),
    }
}
