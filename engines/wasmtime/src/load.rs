//! Precompiled code to a program whose imports and entry are resolved.

use std::cell::OnceCell;
use std::fs::File;

use trireme_engine::{EngineError, Program, check_limit};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ResourceTable};
use wasmtime::{Engine, Error, ExternType, Module, ResourcesRequired, UnknownImportError};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView, p2};

use crate::limits::Limiter;
use crate::run::{ComponentEntry, ComponentProgram, ModuleProgram};
use crate::{Machine, code, files, names};

/// Bytes of a WebAssembly page.
const PAGE: u64 = 65536;

pub(crate) type ModuleLinker = wasmtime::Linker<ModuleHost>;
pub(crate) type ComponentLinker = wasmtime::component::Linker<ComponentHost>;

/// What a module's store holds.
pub(crate) struct ModuleHost {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) limiter: Limiter,
}

/// What a component's store holds.
pub(crate) struct ComponentHost {
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    /// Whether names may be looked up.
    pub(crate) network: bool,
}

/// What a store holds that limits its guest.
pub(crate) trait Limited {
    fn limiter(&mut self) -> &mut Limiter;
}

impl Limited for ModuleHost {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

impl Limited for ComponentHost {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

impl WasiView for ComponentHost {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Loads a module; its code is mapped, nothing of it is copied.
///
/// # Safety
///
/// As [`trireme_engine::Engine::load`].
pub(crate) unsafe fn module(
    machine: &Machine,
    code: File,
    entry: Option<&str>,
) -> Result<Box<dyn Program>, EngineError> {
    // SAFETY: the caller vouches for the code and that it does not change.
    let module = unsafe { Module::deserialize_open_file(&machine.engine, code) }
        .map_err(|error| precompiled(&error))?;
    check_limits(machine, Some(module.resources_required()))?;
    let entry = entry.unwrap_or("_start");
    check_entry(&module, entry)?;
    let pre = modules(machine)?
        .instantiate_pre(&module)
        .map_err(|error| missing_import(&error))?;
    Ok(Box::new(ModuleProgram {
        pre,
        entry: entry.into(),
        limits: machine.limits,
        site: None,
    }))
}

/// Loads a component. Its code is mapped and used where it is; only the data
/// segments of its modules are copied, when wasmtime makes the image of their
/// memories.
///
/// # Safety
///
/// As [`trireme_engine::Engine::load`].
pub(crate) unsafe fn component(
    machine: &Machine,
    code: File,
    entry: Option<&str>,
) -> Result<Box<dyn Program>, EngineError> {
    // SAFETY: the caller promises that the file does not change.
    let memory = unsafe { code::map(&code) }
        .map_err(|error| EngineError::Precompiled(format!("it cannot be mapped: {error}")))?;
    // SAFETY: the caller vouches for the code; the mapping stays for good.
    let component = unsafe { Component::deserialize_raw(&machine.engine, memory) }
        .map_err(|error| precompiled(&error))?;
    check_limits(machine, component.resources_required())?;
    if let Some(name) = entry {
        check_component_entry(&machine.engine, &component, name)?;
    }
    let pre = components(machine)?
        .instantiate_pre(&component)
        .map_err(|error| EngineError::Link(format!("an import is not provided: {error:#}")))?;
    let entry = match entry {
        Some(name) => ComponentEntry::Function(pre, name.into()),
        None => ComponentEntry::Command(CommandPre::new(pre).map_err(|error| {
            EngineError::Link(format!("not a command, it has no wasi:cli/run: {error:#}"))
        })?),
    };
    Ok(Box::new(ComponentProgram {
        entry,
        limits: machine.limits,
        site: None,
    }))
}

/// Makes what modules and components import.
pub(crate) fn make_linkers(machine: &Machine) -> Result<(), EngineError> {
    modules(machine)?;
    components(machine)?;
    Ok(())
}

fn modules(machine: &Machine) -> Result<&ModuleLinker, EngineError> {
    once(&machine.modules, || module_linker(&machine.engine))
}

fn components(machine: &Machine) -> Result<&ComponentLinker, EngineError> {
    once(&machine.components, || component_linker(&machine.engine))
}

fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T, Error>) -> Result<&T, EngineError> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make().map_err(|error| {
        EngineError::Internal(format!("wasmtime's WASI cannot be linked: {error:#}"))
    })?;
    Ok(cell.get_or_init(|| made))
}

fn module_linker(engine: &Engine) -> Result<ModuleLinker, Error> {
    let mut linker = ModuleLinker::new(engine);
    p1::add_to_linker_async(&mut linker, |host: &mut ModuleHost| &mut host.wasi)?;
    // wasmtime-wasi's own traps for a code of 126 and more; a container's exit
    // code is whatever its program says.
    linker.allow_shadowing(true).func_wrap(
        "wasi_snapshot_preview1",
        "proc_exit",
        |code: i32| -> Result<(), Error> { Err(I32Exit(code).into()) },
    )?;
    Ok(linker)
}

fn component_linker(engine: &Engine) -> Result<ComponentLinker, Error> {
    let mut linker = ComponentLinker::new(engine);
    p2::add_to_linker_async(&mut linker)?;
    files::shadow(&mut linker)?;
    names::shadow(&mut linker)?;
    Ok(linker)
}

/// Refuses what could not be instantiated, before there is a guest to end.
/// Memories with pages of their own size are left to the limiter: wasmtime
/// tells their number of pages only.
fn check_limits(machine: &Machine, required: Option<ResourcesRequired>) -> Result<(), EngineError> {
    let Some(required) = required else {
        return Ok(());
    };
    if !machine.custom_page_sizes {
        let memory = required
            .max_initial_memory_size
            .map(|pages| pages.saturating_mul(PAGE));
        check_limit("memory", memory, "bytes", machine.limits.memory)?;
    }
    check_limit(
        "table",
        required.max_initial_table_size,
        "elements",
        machine.limits.table,
    )
}

fn check_entry(module: &Module, name: &str) -> Result<(), EngineError> {
    match module.get_export(name) {
        Some(ExternType::Func(ty)) if ty.params().len() == 0 => Ok(()),
        Some(ExternType::Func(_)) => Err(EngineError::takes_parameters(name)),
        _ => Err(EngineError::no_function(
            name,
            module
                .exports()
                .filter(|export| matches!(export.ty(), ExternType::Func(_)))
                .map(|export| export.name().to_owned()),
        )),
    }
}

fn check_component_entry(
    engine: &Engine,
    component: &Component,
    name: &str,
) -> Result<(), EngineError> {
    let ty = component.component_type();
    match ty.get_export(engine, name).map(|export| export.ty) {
        Some(ComponentItem::ComponentFunc(ty)) if ty.params().len() == 0 => Ok(()),
        Some(ComponentItem::ComponentFunc(_)) => Err(EngineError::takes_parameters(name)),
        _ => Err(EngineError::no_function(
            name,
            ty.exports(engine)
                .filter(|(_, export)| matches!(export.ty, ComponentItem::ComponentFunc(_)))
                .map(|(name, _)| name.to_owned()),
        )),
    }
}

fn missing_import(error: &Error) -> EngineError {
    EngineError::Link(match error.downcast_ref::<UnknownImportError>() {
        Some(import) => format!(
            "import \"{}\" \"{}\" is not provided; a module gets wasi_snapshot_preview1",
            import.module(),
            import.name()
        ),
        None => format!("an import does not fit: {error:#}"),
    })
}

fn precompiled(error: &Error) -> EngineError {
    EngineError::Precompiled(format!("{error:#}"))
}
