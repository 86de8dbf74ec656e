//! The handler's limits on memories and tables.

use trireme_engine::{Limits, too_much};
use wasmtime::{ResourceLimiter, Result};

/// wasmtime's own default for each of instances, tables and memories of a store.
const MANY: usize = 10_000;

/// Answers wasmtime's questions about growth, and remembers what it refused a
/// program that was not running yet.
#[derive(Default)]
pub(crate) struct Limiter {
    memory: Option<usize>,
    table: Option<usize>,
    refused: Option<String>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bound = |limit: Option<u64>| limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Limiter {
            memory: bound(limits.memory),
            table: bound(limits.table),
            refused: None,
        }
    }

    /// Why a memory or table could not be made at all.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let Some(allowed) = self.memory.filter(|allowed| desired > *allowed) else {
            return Ok(true);
        };
        if current == 0 {
            self.refused = Some(too_much("memory", desired as u64, "bytes", allowed as u64));
        }
        Ok(false)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let Some(allowed) = self.table.filter(|allowed| desired > *allowed) else {
            return Ok(true);
        };
        if current == 0 {
            self.refused = Some(too_much(
                "table",
                desired as u64,
                "elements",
                allowed as u64,
            ));
        }
        Ok(false)
    }

    fn instances(&self) -> usize {
        MANY
    }

    fn tables(&self) -> usize {
        MANY
    }

    fn memories(&self) -> usize {
        MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_program_starts_with_is_remembered() {
        let mut limiter = Limiter::new(&Limits {
            memory: Some(65536),
            ..Limits::default()
        });
        assert!(limiter.memory_growing(0, 65536, None).unwrap());
        assert!(!limiter.memory_growing(65536, 131072, None).unwrap());
        assert_eq!(limiter.refused(), None);
        assert!(!limiter.memory_growing(0, 131072, None).unwrap());
        assert_eq!(
            limiter.refused(),
            Some("its memory starts with 131072 bytes; the handler's limit memory is 65536")
        );
        assert!(limiter.table_growing(0, 1 << 20, None).unwrap());
    }
}
