//! What is wasmer's own, beyond the suite that every adapter passes.

use std::path::Path;

use trireme_engine::testing::tools::{self, check_proposal};
use trireme_engine::{
    Adapter, Engine, EngineError, Guest, Kind, Limits, Outcome, Program, SettingValue,
};
use trireme_engine_wasmer::ADAPTER;

/// The proposals with a switch.
const SWITCHES: &[&str] = &[
    "bulk-memory",
    "exceptions",
    "extended-const",
    "multi-memory",
    "multi-value",
    "reference-types",
    "relaxed-simd",
    "simd",
    "threads",
    "wide-arithmetic",
];

/// The proposals without one.
const REFUSED: &[&str] = &[
    "custom-page-sizes",
    "function-references",
    "gc",
    "memory64",
    "tail-call",
];

/// How many settings stand before those of the proposals.
const OF_THE_COMPILER: usize = 3;

const HELLO: &str = r#"(module (func (export "_start")))"#;

/// An engine with these settings.
fn engine(given: &[(&str, SettingValue)], limits: Limits) -> Result<Box<dyn Engine>, EngineError> {
    tools::engine(&ADAPTER, given, limits)
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
    tools::load(compiler, runner, (Kind::Module, text), None, path)
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
    assert_eq!(declared, SWITCHES);
    for key in SWITCHES {
        for on in [true, false] {
            let engine = engine(&[(*key, SettingValue::Bool(on))], Limits::default());
            check_proposal(&*engine.expect(key), key, on);
        }
    }
}

#[test]
fn a_proposal_that_wasmer_lacks_is_refused() {
    for name in REFUSED {
        check_proposal(&*default_engine(), name, false);
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
