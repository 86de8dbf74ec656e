//! The settings of WasmEdge, and its configuration made from them.

use trireme_engine::{EngineError, Limits, Setting, SettingType, Settings};

use crate::ffi::{self, Configure, Optimization, Proposal, RunMode};
use crate::owned::Owned;

/// Bytes of a WebAssembly page.
const PAGE: u64 = 65536;

/// Every setting: the two of the compiler, then a switch for each proposal.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        key: "compiler",
        kind: SettingType::Choice(&["interpreter", "llvm"]),
        default: "interpreter",
        doc: "interpreter compiles nothing; llvm makes fast code and takes long to compile",
    },
    Setting {
        key: "optimize",
        kind: SettingType::Choice(&["none", "speed", "speed-and-size"]),
        default: "speed",
        doc: "what llvm optimises for",
    },
    switch(
        "bulk-memory",
        "memory.copy, memory.fill and their like for tables",
    ),
    switch("exceptions", "try_table, throw and tags"),
    switch("extended-const", "arithmetic in constant expressions"),
    switch(
        "function-references",
        "typed references to functions, and calls through them",
    ),
    switch("gc", "structs and arrays that the engine collects"),
    switch("memory64", "memories with 64-bit addresses"),
    switch("multi-memory", "more than one memory in a module"),
    switch("multi-value", "functions and blocks with several results"),
    switch("reference-types", "externref, and more than one table"),
    switch(
        "relaxed-simd",
        "vector instructions whose result depends on the processor",
    ),
    switch("simd", "128-bit vector instructions"),
    switch("tail-call", "calls that take the caller's place"),
    switch(
        "threads",
        "atomic instructions and shared memories (no thread can be started)",
    ),
];

/// What each setting is in WasmEdge.
const PROPOSALS: &[(&str, Proposal)] = &[
    ("bulk-memory", Proposal::BulkMemoryOperations),
    ("exceptions", Proposal::ExceptionHandling),
    ("extended-const", Proposal::ExtendedConst),
    ("gc", Proposal::Gc),
    ("function-references", Proposal::FunctionReferences),
    ("memory64", Proposal::Memory64),
    ("multi-memory", Proposal::MultiMemories),
    ("multi-value", Proposal::MultiValue),
    ("reference-types", Proposal::ReferenceTypes),
    ("relaxed-simd", Proposal::RelaxedSimd),
    ("simd", Proposal::Simd),
    ("tail-call", Proposal::TailCall),
    ("threads", Proposal::Threads),
];

const fn switch(key: &'static str, doc: &'static str) -> Setting {
    Setting {
        key,
        kind: SettingType::Bool,
        default: "true",
        doc,
    }
}

/// WasmEdge's configuration for an engine.
pub(crate) fn configuration(
    settings: &Settings,
    limits: &Limits,
) -> Result<Owned<Configure>, EngineError> {
    // SAFETY: the configuration is made here, and ours.
    let made = unsafe {
        Owned::new(
            ffi::WasmEdge_ConfigureCreate(),
            ffi::WasmEdge_ConfigureDelete,
            "configuration",
        )?
    };
    for (key, proposal) in PROPOSALS {
        set(&made, key, *proposal, settings.bool(key))?;
    }
    // Its loader takes the instructions of both for either.
    if settings.bool("reference-types") && !settings.bool("bulk-memory") {
        return Err(needed("bulk-memory"));
    }
    // SAFETY: the configuration lives.
    unsafe {
        if let Some(memory) = limits.memory {
            ffi::WasmEdge_ConfigureSetMaxMemoryPage(made.get(), memory / PAGE);
        }
        ffi::WasmEdge_ConfigureStatisticsSetCostMeasuring(made.get(), limits.fuel.is_some());
    }
    apply_compiler(&made, settings);
    Ok(made)
}

/// Whether modules are compiled to native code.
pub(crate) fn is_native(settings: &Settings) -> bool {
    settings.choice("compiler") == "llvm"
}

fn apply_compiler(configure: &Owned<Configure>, settings: &Settings) {
    let mode = match is_native(settings) {
        true => RunMode::Aot,
        false => RunMode::Interpreter,
    };
    let level = match settings.choice("optimize") {
        "none" => Optimization::O0,
        "speed" => Optimization::O3,
        _ => Optimization::Os,
    };
    // SAFETY: the configuration lives.
    unsafe {
        ffi::WasmEdge_ConfigureSetRunMode(configure.get(), mode);
        ffi::WasmEdge_ConfigureCompilerSetOptimizationLevel(configure.get(), level);
        ffi::WasmEdge_ConfigureCompilerSetOutputFormat(configure.get(), ffi::OUTPUT_WASM);
    }
}

/// Switches a proposal. WasmEdge keeps one on that another needs, and says
/// nothing of it.
fn set(
    configure: &Owned<Configure>,
    key: &str,
    proposal: Proposal,
    on: bool,
) -> Result<(), EngineError> {
    // SAFETY: the configuration lives.
    let is_on = unsafe {
        match on {
            true => ffi::WasmEdge_ConfigureAddProposal(configure.get(), proposal),
            false => ffi::WasmEdge_ConfigureRemoveProposal(configure.get(), proposal),
        }
        ffi::WasmEdge_ConfigureHasProposal(configure.get(), proposal)
    };
    match is_on == on {
        true => Ok(()),
        false => Err(needed(key)),
    }
}

/// A proposal cannot be switched off.
fn needed(key: &str) -> EngineError {
    EngineError::Settings(format!(
        "{key} = false: another proposal that is on needs it; switch that off too"
    ))
}
