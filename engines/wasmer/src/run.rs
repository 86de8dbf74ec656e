//! A loaded program to its outcome.

use trireme_engine::{EngineError, Guest, Outcome, Program};
use wasmer::{Engine, Instance, Memory, Module, RuntimeError, Store};
use wasmer_middlewares::metering::{MeteringPoints, get_remaining_points};
use wasmer_wasix::{WasiFunctionEnv, WasiModuleInstanceHandles, WasiModuleTreeHandles};

use crate::imports::{self, Provided};
use crate::{error, host};

/// A module whose imports can be provided.
pub(crate) struct ModuleProgram {
    pub(crate) module: Module,
    pub(crate) engine: Engine,
    pub(crate) entry: String,
    /// Whether fuel is counted, from the limit that is compiled in.
    pub(crate) fuel: bool,
}

impl Program for ModuleProgram {
    fn run(self: Box<Self>, guest: Guest) -> Outcome {
        let mut store = Store::new(self.engine.clone());
        let (env, provided) = match self.prepare(&mut store, guest) {
            Ok(prepared) => prepared,
            Err(outcome) => return outcome,
        };
        let instance = match Instance::new(&mut store, &self.module, &provided.imports) {
            Ok(instance) => instance,
            Err(error) => return error::not_instantiated(&error),
        };
        if let Err(outcome) = connect(&mut store, env, &provided, &instance) {
            return outcome;
        }
        match self.call(&mut store, &instance) {
            Ok(()) => Outcome::Exit(0),
            Err(error) if self.is_out_of_fuel(&mut store, &instance) => error::out_of_fuel(&error),
            Err(error) => error::outcome(&error),
        }
    }
}

impl ModuleProgram {
    fn prepare(
        &self,
        store: &mut Store,
        guest: Guest,
    ) -> Result<(WasiFunctionEnv, Provided), Outcome> {
        let env = host::environment(&self.engine, store, guest)
            .map_err(|error| Outcome::Internal(error.to_string()))?;
        let provided =
            imports::provide(store, &env, &self.module).map_err(|error| match error {
                EngineError::Link(why) => Outcome::Link(why),
                error => Outcome::Internal(error.to_string()),
            })?;
        Ok((env, provided))
    }

    fn call(&self, store: &mut Store, instance: &Instance) -> Result<(), RuntimeError> {
        let function = instance
            .exports
            .get_function(&self.entry)
            .map_err(|error| RuntimeError::new(error.to_string()))?;
        function.call(store, &[]).map(drop)
    }

    fn is_out_of_fuel(&self, store: &mut Store, instance: &Instance) -> bool {
        self.fuel && get_remaining_points(store, instance) == MeteringPoints::Exhausted
    }
}

/// Hands the guest's memory to WASI. A module without one imports nothing.
fn connect(
    store: &mut Store,
    mut env: WasiFunctionEnv,
    provided: &Provided,
    instance: &Instance,
) -> Result<(), Outcome> {
    let Some(memory) = provided.memory.clone().or_else(|| exported(instance)) else {
        return Ok(());
    };
    provided.connect(store, &memory);
    let handles = WasiModuleInstanceHandles::new(memory, store, instance.clone(), None);
    env.initialize_handles_and_layout(
        store,
        instance.clone(),
        WasiModuleTreeHandles::Static(handles),
        None,
        true,
    )
    .map_err(|error| Outcome::Link(error.to_string()))
}

fn exported(instance: &Instance) -> Option<Memory> {
    instance
        .exports
        .iter()
        .memories()
        .next()
        .map(|(_, memory)| memory.clone())
}
