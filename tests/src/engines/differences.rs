//! Where an engine differs from the guest contract, with the reason upstream.

use super::Engine;

/// One thing that an engine does otherwise.
///
/// It is an expected failure: the check must fail, in the way that is said here. One that passes
/// fails the tests, so that its line goes when the engine behaves.
#[derive(Debug)]
pub struct Difference {
    /// The engine.
    pub engine: Engine,
    /// The check, an end-to-end case by its name.
    pub check: &'static str,
    /// What is to be seen in the check's failure.
    pub seen: &'static str,
    /// What the engine does instead, for users.
    pub instead: &'static str,
    /// Where that comes from: an issue, or a source file of the engine.
    pub reference: &'static str,
}

/// All that is known.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        engine: Engine::Wasmer,
        check: "a_component_runs",
        seen: "wasmer takes modules only",
        instead: "Components are refused.",
        reference: "wasmer 7.3, lib/api/src/entities/module: no type for a component",
    },
    Difference {
        engine: Engine::Wasmer,
        check: "a_component_runs_from_every_platform",
        seen: "wasmer takes modules only",
        instead: "Components are refused.",
        reference: "wasmer 7.3, lib/api/src/entities/module: no type for a component",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "a_component_runs",
        seen: "wasmi takes no components",
        instead: "Components are refused.",
        reference: "https://github.com/wasmi-labs/wasmi/issues/1665",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "a_component_runs_from_every_platform",
        seen: "wasmi takes no components",
        instead: "Components are refused.",
        reference: "https://github.com/wasmi-labs/wasmi/issues/1665",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "a_trap_is_told_with_its_function",
        seen: "`run_aground` is not told",
        instead: "A trap is told without the functions that led to it.",
        reference: "https://github.com/wasmi-labs/wasmi/pull/1461",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "a_load_out_of_bounds_is_told",
        seen: "`look_over_the_edge` is not told",
        instead: "A trap is told without the functions that led to it.",
        reference: "https://github.com/wasmi-labs/wasmi/pull/1461",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "a_read_only_root_cannot_be_written",
        seen: "Unknown OS error",
        instead: "Writing to a read-only file system ends the guest.",
        reference: "wasi-common 36, src/snapshots/preview_1/error.rs: no EROFS",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "a_mount_read_only_can_be_read_alone",
        seen: "Unknown OS error",
        instead: "Writing to a read-only file system ends the guest.",
        reference: "wasi-common 36, src/snapshots/preview_1/error.rs: no EROFS",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "four_gigabytes_of_memory_harm_nobody",
        seen: "ended with 137",
        instead: "A memory is written when it is made: one that exceeds the container's limit ends \
                  the guest as out of memory, even where the guest would not use it.",
        reference: "wasmi 2.0, crates/core/src/memory/buffer.rs: `Vec::resize`",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "a_compile_that_takes_too_long_is_ended",
        seen: "it was compiled in time",
        instead: "Nothing is compiled ahead of time; functions are translated when first called.",
        reference: "wasmi 2.0, crates/wasmi/src/engine/config.rs: `CompilationMode::LazyTranslation`",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "the_second_start_maps_cached_code",
        seen: "one file is mapped",
        instead: "Code is copied into each guest's memory, not mapped.",
        reference: "wasmi 2.0, crates/wasmi/src/module/mod.rs: `Module::new` takes bytes alone",
    },
    Difference {
        engine: Engine::Wasmi,
        check: "twenty_first_starts_compile_once",
        seen: "awk",
        instead: "Code is copied into each guest's memory, not mapped.",
        reference: "wasmi 2.0, crates/wasmi/src/module/mod.rs: `Module::new` takes bytes alone",
    },
    Difference {
        engine: Engine::WasmEdge,
        check: "a_component_runs",
        seen: "WasmEdge takes modules only",
        instead: "Components are refused.",
        reference: "WasmEdge 0.17.1, enum.inc: `ComponentNotImplInstantiate`",
    },
    Difference {
        engine: Engine::WasmEdge,
        check: "a_component_runs_from_every_platform",
        seen: "WasmEdge takes modules only",
        instead: "Components are refused.",
        reference: "WasmEdge 0.17.1, enum.inc: `ComponentNotImplInstantiate`",
    },
    Difference {
        engine: Engine::WasmEdge,
        check: "a_full_stack_is_told",
        seen: "ended with 137",
        instead: "The stack is not bounded: recursion without end takes memory, until the container's \
                  limit ends the guest.",
        reference: "https://github.com/WasmEdge/WasmEdge/issues/2079",
    },
    Difference {
        engine: Engine::WasmEdge,
        check: "a_compile_that_takes_too_long_is_ended",
        seen: "it was compiled in time",
        instead: "Nothing is compiled ahead of time: modules are interpreted.",
        reference: "docs/decisions/0013-wasmedge.md",
    },
];

/// The line of a check on an engine, if there is one.
pub fn find(engine: Engine, check: &str) -> Option<&'static Difference> {
    DIFFERENCES
        .iter()
        .find(|line| line.engine == engine && line.check == check)
}
