//! The settings of wasmer, and what the compiler is made from.

use std::sync::Arc;

use trireme_engine::{Limits, Setting, SettingType, Settings};
use wasmer::sys::wasmparser::Operator;
use wasmer::sys::{CompilerConfig, Cranelift, CraneliftOptLevel, EngineBuilder, Features};
use wasmer_middlewares::Metering;

/// Every setting: those of the compiler, then the proposals.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        key: "compiler",
        kind: SettingType::Choice(&["cranelift"]),
        default: "cranelift",
        doc: "cranelift is the one compiler of wasmer that is free to use and needs no LLVM",
    },
    Setting {
        key: "optimize",
        kind: SettingType::Choice(&["none", "speed", "speed-and-size"]),
        default: "speed",
        doc: "what cranelift optimises for",
    },
    switch(
        "canonical-nans",
        "false",
        "give every NaN the same bits, on every processor",
    ),
    switch(
        "bulk-memory",
        "true",
        "memory.copy, memory.fill and their like for tables",
    ),
    switch("exceptions", "true", "try_table, throw and tags"),
    switch(
        "extended-const",
        "true",
        "arithmetic in constant expressions",
    ),
    switch("multi-memory", "true", "more than one memory in a module"),
    switch(
        "multi-value",
        "true",
        "functions and blocks with several results",
    ),
    switch(
        "reference-types",
        "true",
        "externref, and more than one table",
    ),
    switch(
        "relaxed-simd",
        "true",
        "vector instructions whose result depends on the processor",
    ),
    switch("simd", "true", "128-bit vector instructions"),
    switch(
        "threads",
        "true",
        "atomic instructions and shared memories (no thread can be started)",
    ),
    switch(
        "wide-arithmetic",
        "true",
        "128-bit addition, subtraction and multiplication",
    ),
];

const fn switch(key: &'static str, default: &'static str, doc: &'static str) -> Setting {
    Setting {
        key,
        kind: SettingType::Bool,
        default,
        doc,
    }
}

/// What makes a compiler. Each compiles one module: its counter of fuel belongs
/// to that module.
pub(crate) struct Compiler {
    features: Features,
    optimize: CraneliftOptLevel,
    canonical_nans: bool,
    fuel: Option<u64>,
}

impl Compiler {
    pub(crate) fn new(settings: &Settings, limits: &Limits) -> Self {
        Compiler {
            features: features(settings),
            optimize: match settings.choice("optimize") {
                "none" => CraneliftOptLevel::None,
                "speed" => CraneliftOptLevel::Speed,
                _ => CraneliftOptLevel::SpeedAndSize,
            },
            canonical_nans: settings.bool("canonical-nans"),
            fuel: limits.fuel,
        }
    }

    /// A wasmer with this compiler.
    pub(crate) fn engine(&self) -> wasmer::Engine {
        let mut cranelift = Cranelift::new();
        cranelift
            .opt_level(self.optimize.clone())
            .canonicalize_nans(self.canonical_nans);
        if let Some(fuel) = self.fuel {
            cranelift.push_middleware(Arc::new(Metering::new(fuel, cost)));
        }
        EngineBuilder::new(cranelift)
            .set_features(Some(self.features.clone()))
            .into()
    }
}

/// A unit of fuel is one instruction.
fn cost(_: &Operator<'_>) -> u64 {
    1
}

/// Proposals without a setting are those that wasmer 7.3 does not compile with
/// cranelift: tail calls, 64-bit memories, typed function references and all
/// that builds on them.
fn features(settings: &Settings) -> Features {
    let on = |key| settings.bool(key);
    Features {
        bulk_memory: on("bulk-memory"),
        exceptions: on("exceptions"),
        extended_const: on("extended-const"),
        multi_memory: on("multi-memory"),
        multi_value: on("multi-value"),
        reference_types: on("reference-types"),
        relaxed_simd: on("relaxed-simd"),
        simd: on("simd"),
        threads: on("threads"),
        wide_arithmetic: on("wide-arithmetic"),
        ..Features::none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wasmer::sys::Target;

    use super::*;

    #[test]
    fn the_declared_defaults_are_those_of_wasmer() {
        let settings = Settings::check(SETTINGS, &BTreeMap::new()).unwrap();
        let upstream = Cranelift::new().supported_features_for_target(&Target::default());
        assert_eq!(features(&settings), upstream);
    }
}
