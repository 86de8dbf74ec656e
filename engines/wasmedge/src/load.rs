//! A module to a program whose imports and entry are resolved.

use std::fs::File;

use trireme_engine::{EngineError, Limits, Program, check_limit};
use wasmparser::{FuncType, ValType};

use crate::ffi::{self, Configure, Executor, ModuleInstance, Statistics, Store};
use crate::module::Outline;
use crate::owned::Owned;
use crate::run::Loaded;
use crate::wasi::{self, Wasi};
use crate::{code, compile};

/// Loads a module out of a mapping of its file.
///
/// # Safety
///
/// As [`trireme_engine::Engine::load`].
pub(crate) unsafe fn module(
    configure: &Owned<Configure>,
    limits: &Limits,
    code: File,
    entry: &str,
) -> Result<Box<dyn Program>, EngineError> {
    // SAFETY: the caller promises that the file does not change.
    let code = unsafe { code::map(&code) }?;
    let module = compile::parse(configure, code.module())
        .map_err(|error| EngineError::Precompiled(error.to_string()))?;
    let gate = code
        .gate()
        .map(|gate| compile::parse(configure, gate))
        .transpose()
        .map_err(|error| EngineError::Precompiled(error.to_string()))?;
    let outline = Outline::read(code.module())
        .map_err(|error| EngineError::Precompiled(error.to_string()))?;
    check_limits(limits, &outline)?;
    check_entry(&outline, entry)?;
    check_imports(&outline, &Wasi::empty()?)?;
    let mut imports = outline.imports.iter().map(|(_, name, _)| name);
    Ok(Box::new(Loaded {
        machine: Machine::new(configure, limits)?,
        module,
        gate,
        socket: imports.find(|name| wasi::needs_network(name)).cloned(),
        results: outline.export(entry).map_or(0, |ty| ty.results().len()),
        code,
        entry: entry.into(),
    }))
}

/// What runs a module.
pub(crate) struct Machine {
    pub(crate) executor: Owned<Executor>,
    pub(crate) store: Owned<Store>,
    /// Counts fuel; the executor looks at it.
    _statistics: Owned<Statistics>,
}

impl Machine {
    fn new(configure: &Owned<Configure>, limits: &Limits) -> Result<Self, EngineError> {
        // SAFETY: all objects are made here; the executor is dropped before what it looks at.
        unsafe {
            let statistics = Owned::new(
                ffi::WasmEdge_StatisticsCreate(),
                ffi::WasmEdge_StatisticsDelete,
                "statistics",
            )?;
            let executor = Owned::new(
                ffi::WasmEdge_ExecutorCreate(configure.get(), statistics.get()),
                ffi::WasmEdge_ExecutorDelete,
                "executor",
            )?;
            // Making an executor sets the limit of its statistics back.
            if let Some(fuel) = limits.fuel {
                ffi::WasmEdge_StatisticsSetCostLimit(statistics.get(), fuel);
            }
            Ok(Machine {
                executor,
                store: Owned::new(
                    ffi::WasmEdge_StoreCreate(),
                    ffi::WasmEdge_StoreDelete,
                    "store",
                )?,
                _statistics: statistics,
            })
        }
    }
}

/// Refuses what could not be instantiated, before there is a guest to end.
fn check_limits(limits: &Limits, outline: &Outline) -> Result<(), EngineError> {
    check_limit(
        "memory",
        outline.memories.iter().copied().max(),
        "bytes",
        limits.memory,
    )
}

fn check_entry(outline: &Outline, name: &str) -> Result<(), EngineError> {
    match outline.export(name) {
        Some(ty) if ty.params().is_empty() => Ok(()),
        Some(_) => Err(EngineError::takes_parameters(name)),
        None => Err(EngineError::no_function(name, outline.exports())),
    }
}

/// Names the first import that is not there or is another thing.
fn check_imports(outline: &Outline, wasi: &Wasi) -> Result<(), EngineError> {
    let missing = |module: &str, name: &str, why: &str| {
        EngineError::Link(format!("import \"{module}\" \"{name}\" {why}"))
    };
    let unknown = format!(
        "is not provided; a module gets the functions of {}",
        wasi::MODULE
    );
    if let Some((module, name)) = outline.other_imports.first() {
        return Err(missing(module, name, &unknown));
    }
    for (module, name, ty) in &outline.imports {
        if name == wasi::NAME_LOOKUP {
            let why = "is not provided: it would load libraries of the container's image; use \
                       addresses";
            return Err(missing(module, name, why));
        }
        if module != wasi::MODULE || find(wasi.instance(), name).is_none() {
            return Err(missing(module, name, &unknown));
        }
        if !ty.as_ref().is_some_and(|ty| provides(wasi, name, ty)) {
            let why = "does not fit: WasmEdge has it with another type";
            return Err(missing(module, name, why));
        }
    }
    Ok(())
}

/// Whether an import of this type is resolved: as what it is called, or as the
/// newer form of the same name (`Executor::instantiate` of imports).
fn provides(wasi: &Wasi, name: &str, ty: &FuncType) -> bool {
    [name.to_owned(), format!("{name}_v2")]
        .iter()
        .filter_map(|name| find(wasi.instance(), name))
        // SAFETY: the function is one of the instance's, which lives.
        .any(|function| unsafe { has_type(function, ty) })
}

/// A function that an instance exports.
pub(crate) fn find(instance: &Owned<ModuleInstance>, name: &str) -> Option<*mut ffi::Function> {
    let length = u32::try_from(name.len()).ok()?;
    let name = ffi::Text {
        length,
        data: name.as_ptr().cast(),
    };
    // SAFETY: the instance and the name live through the call.
    let function = unsafe { ffi::WasmEdge_ModuleInstanceFindFunction(instance.get(), name) };
    (!function.is_null()).then_some(function)
}

/// Whether a function is of this type.
///
/// # Safety
///
/// The function's instance must live.
unsafe fn has_type(function: *mut ffi::Function, wanted: &FuncType) -> bool {
    const MOST: usize = 16;
    let mut list = [ffi::ValType { data: [0; 8] }; MOST];
    // SAFETY: the lists are written no further than their length, and only as
    // far as was counted they are read.
    unsafe {
        let ty = ffi::WasmEdge_FunctionInstanceGetFunctionType(function);
        let params = ffi::WasmEdge_FunctionTypeGetParametersLength(ty) as usize;
        if params != wanted.params().len() || params > MOST {
            return false;
        }
        ffi::WasmEdge_FunctionTypeGetParameters(ty, list.as_mut_ptr(), MOST as u32);
        if !list
            .iter()
            .zip(wanted.params())
            .all(|(ty, wanted)| is(*ty, *wanted))
        {
            return false;
        }
        let returns = ffi::WasmEdge_FunctionTypeGetReturnsLength(ty) as usize;
        if returns != wanted.results().len() || returns > MOST {
            return false;
        }
        ffi::WasmEdge_FunctionTypeGetReturns(ty, list.as_mut_ptr(), MOST as u32);
        list.iter()
            .zip(wanted.results())
            .all(|(ty, wanted)| is(*ty, *wanted))
    }
}

/// WASI has no other types.
fn is(ty: ffi::ValType, wanted: ValType) -> bool {
    // SAFETY: functions without conditions.
    unsafe {
        match wanted {
            ValType::I32 => ffi::WasmEdge_ValTypeIsI32(ty),
            ValType::I64 => ffi::WasmEdge_ValTypeIsI64(ty),
            _ => false,
        }
    }
}
