//! What the tests of one adapter's own use, beside the suite.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use crate::{Adapter, Engine, EngineError, Kind, Limits, Program, SettingValue, Settings};

/// For each proposal, the fields of a module that needs it and nothing newer,
/// by the name that a setting for it has.
pub const PROPOSALS: &[(&str, &str)] = &[
    (
        "bulk-memory",
        "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))",
    ),
    ("custom-page-sizes", "(memory 1 (pagesize 1))"),
    ("exceptions", "(tag $e) (func (throw $e))"),
    (
        "extended-const",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
    ),
    (
        "function-references",
        "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
    ),
    ("gc", "(type (struct (field i32)))"),
    ("memory64", "(memory i64 1)"),
    ("multi-memory", "(memory 1) (memory 1)"),
    (
        "multi-value",
        "(func (result i32 i32) (i32.const 0) (i32.const 1))",
    ),
    ("reference-types", "(table 1 externref)"),
    (
        "relaxed-simd",
        "(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))",
    ),
    ("simd", "(func (drop (v128.const i32x4 0 0 0 0)))"),
    ("tail-call", "(func $f (return_call $f))"),
    (
        "threads",
        "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
    ),
    (
        "wide-arithmetic",
        "(func (param i64 i64 i64 i64) (result i64 i64)
           (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))",
    ),
];

/// Asserts that the engine takes a module that needs a proposal of
/// [`PROPOSALS`], or refuses it.
///
/// # Panics
///
/// When it does not, or says why in another way than by
/// [`EngineError::Rejected`].
pub fn check_proposal(engine: &dyn Engine, key: &str, on: bool) {
    let (_, fields) = PROPOSALS
        .iter()
        .find(|(name, _)| *name == key)
        .unwrap_or_else(|| panic!("{key} is no proposal of the list"));
    let wasm = wat::parse_str(format!("(module {fields})")).expect(key);
    for (call, result) in [
        ("accepts", engine.accepts(&wasm, Kind::Module)),
        ("compile", engine.compile(&wasm, Kind::Module).map(drop)),
    ] {
        match result {
            Ok(()) => assert!(on, "{key} = false: {call} takes it"),
            Err(EngineError::Rejected(why)) => assert!(!on, "{key} = true: {call}: {why}"),
            Err(error) => panic!("{key} = {on}: {call}: {error}"),
        }
    }
}

/// An engine with these settings, and the defaults for all others.
///
/// # Errors
///
/// The adapter's.
///
/// # Panics
///
/// For settings that it does not declare.
pub fn engine(
    adapter: &dyn Adapter,
    given: &[(&str, SettingValue)],
    limits: Limits,
) -> Result<Box<dyn Engine>, EngineError> {
    let given: BTreeMap<_, _> = given
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let settings = Settings::check(adapter.info().settings, &given).expect("declared settings");
    adapter.create(&settings, &limits)
}

/// Compiles `text` with one engine into `path` and loads it with another, of
/// the same adapter.
///
/// # Errors
///
/// Those of the loading engine.
///
/// # Panics
///
/// When the text cannot be compiled.
pub fn load(
    compiler: &dyn Engine,
    runner: &dyn Engine,
    (kind, text): (Kind, &str),
    entry: Option<&str>,
    path: &Path,
) -> Result<Box<dyn Program>, EngineError> {
    let wasm = wat::parse_str(text).expect("text");
    fs::write(path, compiler.compile(&wasm, kind).expect("compilation")).expect("a file");
    // SAFETY: the code is of this build; where the settings differ, the engine
    // compares them. The file is written once.
    unsafe { runner.load(File::open(path).expect("a file"), kind, entry) }
}
