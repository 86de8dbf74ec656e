//! The handler's limits on memories, tables and the stack.

use std::ptr::NonNull;

use trireme_engine::{EngineError, Limits, check_limit};
use wasmer::sys::vm::{
    MemoryError, MemoryStyle, TableStyle, VMConfig, VMMemory, VMMemoryDefinition, VMTable,
    VMTableDefinition,
};
use wasmer::sys::{BaseTunables, Target, Tunables};
use wasmer::{MemoryType, Pages, TableType};

/// Bytes of a WebAssembly page.
const PAGE: u64 = 65536;

/// The smallest stack of wasmer, in bytes; it makes a smaller one as large.
const MIN_STACK: u64 = 8 << 10;

/// The largest stack that wasmer lets be its default, in bytes
/// (`wasmer_vm::MAX_STACK_SIZE`). It panics when one cannot be mapped.
const MAX_STACK: u64 = 100 << 20;

/// Makes memories and tables whose maximum is no larger than the limit.
///
/// wasmer asks at each growth whether it stays within the maximum, so no more
/// is needed. Its code relies on the address space that is reserved for a
/// memory, never on its maximum.
pub(crate) struct Limiter {
    base: BaseTunables,
    memory: Option<Pages>,
    table: Option<u32>,
    config: VMConfig,
}

impl Limiter {
    /// Refuses a stack that wasmer would not make as it is asked.
    pub(crate) fn new(limits: &Limits) -> Result<Self, EngineError> {
        let pages = |bytes: u64| Pages(u32::try_from(bytes / PAGE).unwrap_or(u32::MAX));
        Ok(Limiter {
            base: BaseTunables::for_target(&Target::default()),
            memory: limits.memory.map(pages),
            table: limits.table.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            config: VMConfig {
                wasm_stack_size: limits.stack.map(stack_size).transpose()?,
            },
        })
    }

    fn memory(&self, ty: &MemoryType) -> MemoryType {
        let mut ty = *ty;
        ty.maximum = least(ty.maximum, self.memory);
        ty
    }

    fn table(&self, ty: &TableType) -> TableType {
        let mut ty = *ty;
        ty.maximum = least(ty.maximum, self.table);
        ty
    }
}

fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn stack_size(bytes: u64) -> Result<usize, EngineError> {
    usize::try_from(bytes)
        .ok()
        .filter(|_| (MIN_STACK..=MAX_STACK).contains(&bytes))
        .ok_or_else(|| {
            EngineError::Settings(format!(
                "a stack of {bytes} bytes cannot be made; wasmer makes them from {MIN_STACK} to \
                 {MAX_STACK}"
            ))
        })
}

/// Refuses what could not be instantiated, before there is a guest to end.
pub(crate) fn check(limits: &Limits, module: &wasmer::Module) -> Result<(), EngineError> {
    let info = module.info();
    let memory = info.memories.values().map(|ty| ty.minimum.0).max();
    let table = info.tables.values().map(|ty| ty.minimum).max();
    check_limit(
        "memory",
        memory.map(|pages| u64::from(pages) * PAGE),
        "bytes",
        limits.memory,
    )?;
    check_limit("table", table.map(u64::from), "elements", limits.table)
}

impl Tunables for Limiter {
    fn memory_style(&self, ty: &MemoryType) -> MemoryStyle {
        self.base.memory_style(ty)
    }

    fn table_style(&self, ty: &TableType) -> TableStyle {
        self.base.table_style(ty)
    }

    fn create_host_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
    ) -> Result<VMMemory, MemoryError> {
        self.base.create_host_memory(&self.memory(ty), style)
    }

    unsafe fn create_vm_memory(
        &self,
        ty: &MemoryType,
        style: &MemoryStyle,
        at: NonNull<VMMemoryDefinition>,
    ) -> Result<VMMemory, MemoryError> {
        // SAFETY: the caller vouches for `at`.
        unsafe { self.base.create_vm_memory(&self.memory(ty), style, at) }
    }

    fn create_host_table(&self, ty: &TableType, style: &TableStyle) -> Result<VMTable, String> {
        self.base.create_host_table(&self.table(ty), style)
    }

    unsafe fn create_vm_table(
        &self,
        ty: &TableType,
        style: &TableStyle,
        at: NonNull<VMTableDefinition>,
    ) -> Result<VMTable, String> {
        // SAFETY: the caller vouches for `at`.
        unsafe { self.base.create_vm_table(&self.table(ty), style, at) }
    }

    fn vmconfig(&self) -> &VMConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lowers_a_maximum_and_never_raises_one() {
        let limiter = Limiter::new(&Limits {
            memory: Some(3 * PAGE + 1),
            table: Some(7),
            ..Limits::default()
        })
        .unwrap();
        for (declared, limited) in [(None, 3), (Some(2), 2), (Some(9), 3)] {
            let ty = MemoryType::new(1, declared, false);
            assert_eq!(limiter.memory(&ty).maximum, Some(Pages(limited)));
        }
        let table = TableType::new(wasmer::Type::FuncRef, 0, Some(8));
        assert_eq!(limiter.table(&table).maximum, Some(7));
    }

    #[test]
    fn a_stack_that_wasmer_would_not_make_is_refused() {
        for stack in [0, MIN_STACK - 1, MAX_STACK + 1, u64::MAX] {
            let limits = Limits {
                stack: Some(stack),
                ..Limits::default()
            };
            assert!(Limiter::new(&limits).is_err(), "{stack}");
        }
    }
}
