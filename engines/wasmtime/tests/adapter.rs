//! What is wasmtime's own, beyond the suite that every adapter passes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use trireme_engine::{
    Adapter, Engine, EngineError, Guest, Kind, Limits, Outcome, Program, SettingValue, Settings,
};
use trireme_engine_wasmtime::ADAPTER;

/// For each proposal with a switch, a module that needs it and nothing newer.
const PROPOSALS: &[(&str, &str)] = &[
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

const HELLO: &str = r#"(module (func (export "_start")))"#;
const COMPONENT: &str = r#"(component
    (core module $m (func (export "run")))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))"#;

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
    kind: Kind,
    entry: Option<&str>,
    path: &Path,
) -> Result<Box<dyn Program>, EngineError> {
    let wasm = wat::parse_str(text).expect("text");
    fs::write(path, compiler.compile(&wasm, kind).expect("compilation")).expect("a file");
    // SAFETY: the code is of this build; where the settings differ, wasmtime
    // compares them. The file is written once.
    unsafe { runner.load(File::open(path).expect("a file"), kind, entry) }
}

#[test]
fn a_proposal_is_taken_when_it_is_on_and_refused_when_it_is_off() {
    let declared: Vec<_> = ADAPTER
        .info()
        .settings
        .iter()
        .skip(2)
        .map(|s| s.key)
        .collect();
    assert_eq!(
        declared,
        PROPOSALS.iter().map(|(key, _)| *key).collect::<Vec<_>>()
    );
    for (key, fields) in PROPOSALS {
        let wasm = wat::parse_str(format!("(module {fields})")).expect(key);
        for on in [true, false] {
            let mut given = vec![(*key, SettingValue::Bool(on))];
            if *key == "simd" {
                given.push(("relaxed-simd", SettingValue::Bool(on)));
            }
            let engine = match engine(&given, Limits::default()) {
                Ok(engine) => engine,
                Err(error) => panic!("{key} = {on}: {error}"),
            };
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
    }
}

#[test]
fn winch_compiles_once_what_it_lacks_is_off() {
    let off = |key| (key, SettingValue::Bool(false));
    let winch = ("compiler", SettingValue::Text("winch".into()));
    let engine = engine(
        &[
            winch,
            off("exceptions"),
            off("function-references"),
            off("gc"),
            off("relaxed-simd"),
            off("tail-call"),
        ],
        Limits::default(),
    )
    .expect("winch");
    let dir = tempfile::tempdir().expect("a directory");
    let program = load(
        &*engine,
        &*engine,
        HELLO,
        Kind::Module,
        None,
        &dir.path().join("code"),
    );
    assert!(program.is_ok(), "{:?}", program.err());
}

#[test]
fn code_for_other_settings_is_refused() {
    let fuel = Limits {
        fuel: Some(1),
        ..Limits::default()
    };
    let fuelled = engine(&[], fuel).expect("fuel");
    let dir = tempfile::tempdir().expect("a directory");
    for (kind, text, entry) in [
        (Kind::Module, HELLO, None),
        (Kind::Component, COMPONENT, Some("run")),
    ] {
        let path = dir.path().join(kind.to_string());
        let loaded = load(&*default_engine(), &*fuelled, text, kind, entry, &path);
        let error = loaded.err().expect("a refusal");
        assert!(
            matches!(error, EngineError::Precompiled(_)),
            "{kind}: {error}"
        );
    }
}

#[test]
fn code_of_another_wasmtime_is_refused_with_its_version() {
    let engine = default_engine();
    let code = engine
        .compile(&wat::parse_str(HELLO).expect("text"), Kind::Module)
        .expect("code");
    // The name under which wasmtime checks its build: the major version.
    let (ours, theirs) = (b"\x0248", b"\x0247");
    let at = code
        .windows(3)
        .position(|bytes| bytes == ours)
        .expect("a version");
    let code = [&code[..at], theirs, &code[at + 3..]].concat();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("code");
    fs::write(&path, code).expect("a file");
    // SAFETY: wasmtime looks at the version before anything else.
    let loaded = unsafe { engine.load(File::open(&path).expect("a file"), Kind::Module, None) };
    let error = loaded.err().expect("a refusal").to_string();
    assert!(error.contains("47"), "{error}");
}

#[test]
fn code_of_either_kind_runs_from_a_mapping_of_its_file() {
    let engine = default_engine();
    let dir = tempfile::tempdir().expect("a directory");
    for (kind, text, entry) in [
        (Kind::Module, HELLO, None),
        (Kind::Component, COMPONENT, Some("run")),
    ] {
        let path = dir.path().join(kind.to_string());
        let program = load(&*engine, &*engine, text, kind, entry, &path).expect("a program");
        let maps = fs::read_to_string("/proc/self/maps").expect("mappings");
        let path = path.to_str().expect("text");
        let executable = |line: &str| line.contains(" r-xp ") && line.ends_with(path);
        assert!(
            maps.lines().any(executable),
            "{kind} is not mapped:\n{maps}"
        );
        drop(program);
    }
}

#[test]
fn a_guest_without_the_network_gets_neither_sockets_nor_names() {
    const NETWORK: &str = include_str!("network.wat");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("code");
    for (network, entry, other) in [(true, "allowed", "denied"), (false, "denied", "allowed")] {
        for (entry, is_so) in [(entry, true), (other, false)] {
            let engine = default_engine();
            let program = load(
                &*engine,
                &*engine,
                NETWORK,
                Kind::Component,
                Some(entry),
                &path,
            );
            let guest = Guest {
                network,
                ..Guest::command("network")
            };
            let outcome = program.unwrap_or_else(|error| panic!("{error}")).run(guest);
            assert_eq!(
                matches!(outcome, Outcome::Exit(0)),
                is_so,
                "network = {network}, {entry}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_shared_memory_is_rejected_also_within_a_component() {
    let engine = default_engine();
    for (kind, text) in [
        (Kind::Module, "(module (memory 1 1 shared))"),
        (
            Kind::Component,
            "(component (core module (memory 1 1 shared)))",
        ),
    ] {
        let wasm = wat::parse_str(text).expect("text");
        for result in [
            engine.accepts(&wasm, kind),
            engine.compile(&wasm, kind).map(drop),
        ] {
            let error = result.expect_err("a refusal");
            assert!(matches!(&error, EngineError::Rejected(why) if why.contains("shared memory")));
        }
    }
}

#[test]
fn simd_is_off_only_together_with_relaxed_simd() {
    let refused = engine(&[("simd", SettingValue::Bool(false))], Limits::default());
    assert!(matches!(refused.err(), Some(EngineError::Settings(why)) if why.contains("relaxed")));
}

#[test]
fn an_uncaught_exception_and_a_full_heap_are_traps_that_say_so() {
    let throw = r#"(module (tag $e) (func $fly (export "_start") (throw $e)))"#;
    let keep = r#"(module
        (type $list (struct (field (ref null $list))))
        (func $hoard (export "_start")
          (local $all (ref null $list))
          (loop $more
            (local.set $all (struct.new $list (local.get $all)))
            (br $more))))"#;
    let limits = Limits {
        memory: Some(1 << 20),
        ..Limits::default()
    };
    let engine = engine(&[], limits).expect("a limit");
    let dir = tempfile::tempdir().expect("a directory");
    for (text, function, cause) in [(throw, "$fly", "exception"), (keep, "$hoard", "heap")] {
        let path = dir.path().join(function);
        let program = load(&*engine, &*engine, text, Kind::Module, None, &path);
        let outcome = program.expect("a program").run(Guest::command("guest"));
        let Outcome::Trap(why) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(why.contains(function) && why.contains(cause), "{why}");
    }
}

#[test]
fn a_long_list_of_exports_is_cut() {
    let functions: String = (0..14)
        .map(|i| format!("(func (export \"f{i}\"))"))
        .collect();
    let engine = default_engine();
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!("(module {functions})");
    let loaded = load(
        &*engine,
        &*engine,
        &text,
        Kind::Module,
        None,
        &dir.path().join("code"),
    );
    assert_eq!(
        loaded.err().expect("a refusal").to_string(),
        "no exported function \"_start\"; exported functions: \"f0\", \"f1\", \"f2\", \"f3\", \
         \"f4\", \"f5\", \"f6\", \"f7\", \"f8\", \"f9\" and 4 more"
    );
}
