//! What is wasmtime's own, beyond the suite that every adapter passes.

use std::fs::{self, File};

use trireme_engine::testing::tools::{self, PROPOSALS, check_proposal, load};
use trireme_engine::{Adapter, Engine, EngineError, Guest, Kind, Limits, Outcome, SettingValue};
use trireme_engine_wasmtime::ADAPTER;

const HELLO: &str = r#"(module (func (export "_start")))"#;
const COMPONENT: &str = r#"(component
    (core module $m (func (export "run")))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))"#;

/// An engine with these settings.
fn engine(given: &[(&str, SettingValue)], limits: Limits) -> Result<Box<dyn Engine>, EngineError> {
    tools::engine(&ADAPTER, given, limits)
}

fn default_engine() -> Box<dyn Engine> {
    engine(&[], Limits::default()).expect("the defaults")
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
    for (key, _) in PROPOSALS {
        for on in [true, false] {
            let mut given = vec![(*key, SettingValue::Bool(on))];
            if *key == "simd" {
                given.push(("relaxed-simd", SettingValue::Bool(on)));
            }
            let engine = match engine(&given, Limits::default()) {
                Ok(engine) => engine,
                Err(error) => panic!("{key} = {on}: {error}"),
            };
            check_proposal(&*engine, key, on);
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
        (Kind::Module, HELLO),
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
        let loaded = load(&*default_engine(), &*fuelled, (kind, text), entry, &path);
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
        let program = load(&*engine, &*engine, (kind, text), entry, &path).expect("a program");
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
                (Kind::Component, NETWORK),
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
        let program = load(&*engine, &*engine, (Kind::Module, text), None, &path);
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
        (Kind::Module, &text),
        None,
        &dir.path().join("code"),
    );
    assert_eq!(
        loaded.err().expect("a refusal").to_string(),
        "no exported function \"_start\"; exported functions: \"f0\", \"f1\", \"f2\", \"f3\", \
         \"f4\", \"f5\", \"f6\", \"f7\", \"f8\", \"f9\" and 4 more"
    );
}
