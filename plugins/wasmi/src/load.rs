//! A module to a program whose imports and entry are resolved.

use std::fs::File;
use std::io::Read;

use trireme_engine::{EngineError, Limits, Program};
use wasmi::{Error, ExternType, Linker, Module, Store, StoreLimits, StoreLimitsBuilder};
use wasmi_wasi::{WasiCtx, WasiCtxBuilder};

use crate::run::Loaded;

const WASI: &str = "wasi_snapshot_preview1";

/// What belongs to one run.
pub(crate) struct Host {
    pub(crate) wasi: WasiCtx,
    limits: StoreLimits,
}

pub(crate) fn module(
    engine: &wasmi::Engine,
    limits: &Limits,
    mut code: File,
    entry: &str,
) -> Result<Box<dyn Program>, EngineError> {
    let mut bytes = Vec::new();
    code.read_to_end(&mut bytes)
        .map_err(|error| EngineError::Precompiled(error.to_string()))?;
    let module =
        Module::new(engine, &bytes).map_err(|error| EngineError::Precompiled(error.to_string()))?;
    check_entry(&module, entry)?;
    let linker = linker(engine).map_err(internal)?;
    check_imports(&module)?;
    let host = Host {
        wasi: WasiCtxBuilder::new().build(),
        limits: store_limits(limits),
    };
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.limits);
    if let Some(fuel) = limits.fuel {
        store.set_fuel(fuel).map_err(internal)?;
    }
    Ok(Box::new(Loaded {
        linker,
        module,
        store,
        entry: entry.into(),
    }))
}

fn check_imports(module: &Module) -> Result<(), EngineError> {
    match module.imports().find(|import| import.module() != WASI) {
        None => Ok(()),
        Some(import) => Err(EngineError::Link(format!(
            "import \"{}\" \"{}\" is not provided",
            import.module(),
            import.name()
        ))),
    }
}

fn check_entry(module: &Module, entry: &str) -> Result<(), EngineError> {
    match module.get_export(entry) {
        Some(ExternType::Func(ty)) if ty.params().is_empty() => Ok(()),
        Some(ExternType::Func(_)) => Err(EngineError::takes_parameters(entry)),
        _ => {
            let functions = module
                .exports()
                .filter(|export| export.ty().func().is_some())
                .map(|export| export.name().to_owned());
            Err(EngineError::no_function(entry, functions))
        }
    }
}

/// Functions of WASI 0.1, with an exit that takes any code: wasi-common traps
/// for 126 and more, and a container's exit code is whatever its program says.
fn linker(engine: &wasmi::Engine) -> Result<Linker<Host>, Error> {
    let mut linker = Linker::new(engine);
    wasmi_wasi::add_to_linker(&mut linker, |host: &mut Host| &mut host.wasi)
        .map_err(|error| Error::new(error.to_string()))?;
    linker.allow_shadowing(true);
    linker.func_wrap(WASI, "proc_exit", |code: i32| -> Result<(), Error> {
        Err(Error::i32_exit(code))
    })?;
    Ok(linker)
}

fn store_limits(limits: &Limits) -> StoreLimits {
    let bound = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    let mut builder = StoreLimitsBuilder::new();
    if let Some(memory) = limits.memory {
        builder = builder.memory_size(bound(memory));
    }
    if let Some(table) = limits.table {
        builder = builder.table_elements(bound(table));
    }
    builder.build()
}

fn internal(error: Error) -> EngineError {
    EngineError::Internal(error.to_string())
}
