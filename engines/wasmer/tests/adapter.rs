//! What is wasmer's own, beyond the suite that every adapter passes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use trireme_engine::{
    Adapter, Engine, EngineError, Guest, Kind, Limits, Outcome, Program, SettingValue, Settings,
};
use trireme_engine_wasmer::ADAPTER;

/// For each proposal with a switch, a module that needs it and nothing newer.
const PROPOSALS: &[(&str, &str)] = &[
    (
        "bulk-memory",
        "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))",
    ),
    ("exceptions", "(tag $e) (func (throw $e))"),
    (
        "extended-const",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
    ),
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

/// For each proposal without one, a module that needs it.
const REFUSED: &[(&str, &str)] = &[
    ("custom-page-sizes", "(memory 1 (pagesize 1))"),
    (
        "function-references",
        "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
    ),
    ("gc", "(type (struct (field i32)))"),
    ("memory64", "(memory i64 1)"),
    ("tail-call", "(func $f (return_call $f))"),
];

/// How many settings stand before those of the proposals.
const OF_THE_COMPILER: usize = 3;

const HELLO: &str = r#"(module (func (export "_start")))"#;

/// An engine with these settings.
fn engine(given: &[(&str, SettingValue)], limits: Limits) -> Result<Box<dyn Engine>, EngineError> {
    let given: BTreeMap<_, _> = given
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let settings = Settings::check(ADAPTER.info().settings, &given).expect("declared settings");
    ADAPTER.create(&settings, &limits)
}

fn default_engine() -> Box<dyn Engine> {
    engine(&[], Limits::default()).expect("the defaults")
}

/// Compiles `text` with one engine into `path` and loads it with another.
fn load(
    compiler: &dyn Engine,
    runner: &dyn Engine,
    text: &str,
    path: &Path,
) -> Result<Box<dyn Program>, EngineError> {
    let wasm = wat::parse_str(text).expect("text");
    let code = compiler.compile(&wasm, Kind::Module).expect("compilation");
    fs::write(path, code).expect("a file");
    // SAFETY: the code is of this build, and the file is written once.
    unsafe { runner.load(File::open(path).expect("a file"), Kind::Module, None) }
}

fn refusal(text: &str) -> String {
    let engine = default_engine();
    let dir = tempfile::tempdir().expect("a directory");
    let loaded = load(&*engine, &*engine, text, &dir.path().join("code"));
    match loaded.err() {
        Some(EngineError::Link(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn outcome(text: &str) -> Outcome {
    let engine = default_engine();
    let dir = tempfile::tempdir().expect("a directory");
    let program = load(&*engine, &*engine, text, &dir.path().join("code"));
    program.expect("a program").run(Guest::command("guest"))
}

#[test]
fn a_proposal_is_taken_when_it_is_on_and_refused_when_it_is_off() {
    let declared: Vec<_> = ADAPTER
        .info()
        .settings
        .iter()
        .skip(OF_THE_COMPILER)
        .map(|s| s.key)
        .collect();
    assert_eq!(
        declared,
        PROPOSALS.iter().map(|(key, _)| *key).collect::<Vec<_>>()
    );
    for (key, fields) in PROPOSALS {
        for on in [true, false] {
            let engine = engine(&[(*key, SettingValue::Bool(on))], Limits::default());
            taken(&*engine.expect(key), key, fields, on);
        }
    }
}

#[test]
fn a_proposal_that_wasmer_lacks_is_refused() {
    for (name, fields) in REFUSED {
        taken(&*default_engine(), name, fields, false);
    }
}

fn taken(engine: &dyn Engine, key: &str, fields: &str, on: bool) {
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

#[test]
fn code_that_counts_no_fuel_is_refused_where_fuel_is_limited() {
    let fuel = Limits {
        fuel: Some(1),
        ..Limits::default()
    };
    let fuelled = engine(&[], fuel).expect("fuel");
    let dir = tempfile::tempdir().expect("a directory");
    let loaded = load(
        &*default_engine(),
        &*fuelled,
        HELLO,
        &dir.path().join("code"),
    );
    assert!(matches!(loaded.err(), Some(EngineError::Precompiled(why)) if why.contains("fuel")));
}

#[test]
fn one_engine_compiles_several_modules_with_fuel() {
    let fuel = Limits {
        fuel: Some(1000),
        ..Limits::default()
    };
    let engine = engine(&[], fuel).expect("fuel");
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["first", "second"] {
        let program = load(&*engine, &*engine, HELLO, &dir.path().join(name));
        let outcome = program.expect(name).run(Guest::command("guest"));
        assert_eq!(outcome, Outcome::Exit(0), "{name}");
    }
}

#[test]
fn what_would_need_a_compiler_or_a_memory_is_refused_at_load() {
    let dynamic = r#"(module (@custom "dylink.0" "") (func (export "_start")))"#;
    assert!(refusal(dynamic).contains("dynamically linked"));
    let blind = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (func (export "_start")))"#;
    assert!(refusal(blind).contains("memory"));
}

#[test]
fn an_import_of_another_type_is_refused_at_load() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
        (memory (export "memory") 1)
        (func (export "_start")))"#;
    assert!(refusal(text).contains("proc_exit"));
}

#[test]
fn a_long_list_of_exports_is_cut() {
    let functions: String = (0..14)
        .map(|i| format!("(func (export \"f{i:02}\"))"))
        .collect();
    let why = refusal(&format!("(module {functions})"));
    assert!(why.contains("\"f09\" and 4 more"), "{why}");
}

#[test]
fn an_uncaught_exception_is_a_trap_that_says_so() {
    let throw = r#"(module (tag $e) (func $fly (export "_start") (throw $e)))"#;
    let outcome = outcome(throw);
    let Outcome::Trap(why) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(why.contains("exception"), "{why}");
}

/// A program of WASIX has its memory from the host, and may be shared.
#[test]
fn an_imported_memory_is_made() {
    for shared in ["", "shared"] {
        let text = format!(
            r#"(module
                (import "wasix_32v1" "proc_exit" (func $exit (param i32)))
                (import "env" "memory" (memory 1 2 {shared}))
                (func (export "_start")
                  (i32.store (i32.const 8) (i32.const 5))
                  (call $exit (i32.load (i32.const 8)))))"#
        );
        assert_eq!(outcome(&text), Outcome::Exit(5), "{shared}");
    }
}

/// It is an error of the guest's instead.
#[test]
fn no_thread_is_started() {
    let text = r#"(module
        (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "wasi_thread_start") (param i32 i32))
        (func (export "_start")
          (if (i32.gt_s (call $spawn (i32.const 64)) (i32.const 0)) (then (call $exit (i32.const 1))))
          (call $exit (i32.const 0))))"#;
    assert_eq!(outcome(text), Outcome::Exit(0));
}
