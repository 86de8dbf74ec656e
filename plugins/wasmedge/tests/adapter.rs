//! What is WasmEdge's own, beyond the suite that every adapter passes.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use trireme_engine::testing::tools::{self, check_proposal};
use trireme_engine::{
    Adapter, Directory, Engine, EngineError, Guest, Kind, Limits, Outcome, Program, Rights,
    SettingValue,
};

/// The settings of the compiler.
const COMPILER: &[&str] = &["compiler", "optimize"];

/// The proposals with a switch.
const SWITCHES: &[&str] = &[
    "bulk-memory",
    "exceptions",
    "extended-const",
    "function-references",
    "gc",
    "memory64",
    "multi-memory",
    "multi-value",
    "reference-types",
    "relaxed-simd",
    "simd",
    "tail-call",
    "threads",
];

/// Proposals that others need, which are switched off with them.
const NEEDED_BY: &[(&str, &[&str])] = &[
    (
        "bulk-memory",
        &["reference-types", "function-references", "gc"],
    ),
    ("function-references", &["gc"]),
    ("reference-types", &["function-references", "gc"]),
];

const HELLO: &str = r#"(module (func (export "_start")))"#;

fn adapter() -> &'static dyn Adapter {
    let program = std::env::current_exe().expect("the path of this program");
    let plugin = program.with_file_name("libtrireme_wasmedge.so");
    trireme_plugin::host::open(&plugin).expect("the plugin")
}

fn engine(off: &[&str]) -> Result<Box<dyn Engine>, EngineError> {
    let off: Vec<_> = off
        .iter()
        .map(|key| (*key, SettingValue::Bool(false)))
        .collect();
    tools::engine(adapter(), &off, Limits::default())
}

/// Engines that interpret, and that compile in each way.
fn engines() -> impl Iterator<Item = (String, Box<dyn Engine>)> {
    let with = |compiler: &'static str, optimize: &'static str| {
        let word = |word: &str| SettingValue::Text(word.into());
        let given = [("compiler", word(compiler)), ("optimize", word(optimize))];
        let engine = tools::engine(adapter(), &given, Limits::default()).expect(optimize);
        (format!("{compiler}, {optimize}"), engine)
    };
    let native = ["none", "speed", "speed-and-size"].map(|optimize| with("llvm", optimize));
    std::iter::once(with("interpreter", "speed")).chain(native)
}

fn load(text: &str, path: &Path) -> Result<Box<dyn Program>, EngineError> {
    let engine = engine(&[])?;
    tools::load(&*engine, &*engine, (Kind::Module, text), None, path)
}

fn refusal(text: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    match load(text, &dir.path().join("code")).err() {
        Some(EngineError::Link(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn outcome(text: &str, guest: Guest) -> Outcome {
    let dir = tempfile::tempdir().expect("a directory");
    let program = load(text, &dir.path().join("code"));
    program.expect("a program").run(guest)
}

#[test]
fn a_proposal_is_taken_when_it_is_on_and_refused_when_it_is_off() {
    let declared: Vec<_> = adapter().info().settings.iter().map(|s| s.key).collect();
    assert_eq!(declared, [COMPILER, SWITCHES].concat());
    for key in SWITCHES {
        check_proposal(&*engine(&[]).expect(key), key, true);
        let mut off = vec![*key];
        off.extend(
            NEEDED_BY
                .iter()
                .filter(|(needed, _)| needed == key)
                .flat_map(|(_, by)| *by),
        );
        check_proposal(&*engine(&off).expect(key), key, false);
    }
}

#[test]
fn a_proposal_that_another_needs_is_not_switched_off_alone() {
    for (key, _) in NEEDED_BY {
        let Err(EngineError::Settings(why)) = engine(&[key]) else {
            panic!("{key}")
        };
        assert!(why.contains(key), "{why}");
    }
}

/// A module may come with code that WasmEdge compiled ahead of time: native
/// code of the image's choice.
#[test]
fn native_code_of_a_module_is_left_out() {
    let plain = wat::parse_str(HELLO).expect("text");
    let with = r#"(module (@custom "wasmedge" "native") (func (export "_start")))"#;
    let with = wat::parse_str(with).expect("text");
    assert_ne!(plain, with);
    for (shown, engine) in engines() {
        let code = |wasm: &[u8]| engine.compile(wasm, Kind::Module).expect("code");
        assert_eq!(code(&plain), code(&with), "{shown}");
    }
}

/// Native code, behind what the loader of the interpreter takes.
#[test]
fn llvm_adds_native_code_to_a_module() {
    let wasm = wat::parse_str(HELLO).expect("text");
    for (shown, engine) in engines() {
        let code = engine.compile(&wasm, Kind::Module).expect("code");
        let sections = code.windows(8).filter(|bytes| bytes == b"wasmedge");
        // One is of the header, two of the module and of what leads to it.
        let wanted = if shown.starts_with("llvm") { 3 } else { 1 };
        assert_eq!(sections.count(), wanted, "{shown}");
    }
}

/// A program that ends with what was computed, and one whose handler of faults
/// has to tell a load that is out of bounds from a full stack.
#[test]
fn guests_end_alike_however_they_are_compiled() {
    let computed = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $n i32) (local $sum i32)
          (loop $next
            (local.set $sum (i32.add (local.get $sum) (local.get $n)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $n) (i32.const 10))))
          (call $exit (local.get $sum))))"#;
    let out = r#"(module (memory (export "memory") 1)
        (func (export "_start") (drop (i32.load (i32.const 0x7fffffff)))))"#;
    for (shown, engine) in engines() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = |text: &str, name: &str| {
            let path = dir.path().join(name);
            let program = tools::load(&*engine, &*engine, (Kind::Module, text), None, &path);
            program.expect("a program").run(Guest::command("guest"))
        };
        assert_eq!(run(computed, "computed"), Outcome::Exit(45), "{shown}");
        let Outcome::Trap(why) = run(out, "out") else {
            panic!("{shown}")
        };
        assert!(why.contains("out of bounds"), "{shown}: {why}");
    }
}

/// The process of a guest of native code whose stack is full ends as every
/// trap has it end; this program is that process when it is run again.
#[test]
fn a_full_stack_of_native_code_is_a_trap() {
    const DEEP: &str = r#"(module
        (func $dive (param i64) (result i64)
          (i64.rotl (call $dive (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
        (func (export "_start") (drop (call $dive (i64.const 0)))))"#;
    const ASKED: &str = "TRIREME_TEST_STACK";
    if let Some(wanted) = std::env::var_os(ASKED) {
        let wanted = wanted.to_string_lossy();
        let (_, engine) = engines().find(|(name, _)| *name == wanted).expect("it");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("code");
        let program = tools::load(&*engine, &*engine, (Kind::Module, DEEP), None, &path);
        let outcome = program.expect("a program").run(Guest::command("deep"));
        panic!("it ended by itself: {outcome:?}");
    }
    for (shown, _) in engines().filter(|(shown, _)| shown.starts_with("llvm")) {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "--nocapture",
                "a_full_stack_of_native_code_is_a_trap",
            ])
            .env(ASKED, &shown)
            .output()
            .expect("this program again");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(134), "{shown}: {said}");
        let line = "trireme: wasmedge: deep: trap: the stack is full\n";
        assert!(said.ends_with(line), "{shown}: {said}");
    }
}

/// Run by `tests/wasmedge` with such a library in front of the real one.
#[test]
#[ignore = "needs a libwasmedge without LLVM"]
fn a_library_without_llvm_is_refused_with_a_reason() {
    let given = [("compiler", SettingValue::Text("llvm".into()))];
    match tools::engine(adapter(), &given, Limits::default()).err() {
        Some(EngineError::Settings(why)) => {
            assert!(
                why.contains("compiler") && why.contains("without LLVM"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(engine(&[]).is_ok());
}

#[test]
fn sockets_need_the_network_and_names_are_not_looked_up() {
    let lookup = r#"(module
        (import "wasi_snapshot_preview1" "sock_getaddrinfo"
          (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")))"#;
    assert!(refusal(lookup).contains("libraries of the container's image"));
    let socket = r#"(module
        (import "wasi_snapshot_preview1" "sock_open"
          (func (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")))"#;
    for (network, wanted) in [(true, Some(Outcome::Exit(0))), (false, None)] {
        let mut guest = Guest::command("guest");
        guest.network = network;
        match (outcome(socket, guest), wanted) {
            (seen, Some(wanted)) => assert_eq!(seen, wanted),
            (Outcome::Link(why), None) => assert!(why.contains("network"), "{why}"),
            (seen, None) => panic!("{seen:?}"),
        }
    }
}

/// WasmEdge has them only where it is told to (`WasmEdge_ConfigureSetAllowAFUNIX`): a path would lead
/// past the guest's directories.
#[test]
fn sockets_of_unix_are_refused() {
    // WasmEdge's numbers for IPv4 and for Unix; 2 is a stream, 52 is `nosys`.
    for (family, errno) in [(1, 0), (3, 52)] {
        for function in ["sock_open", "sock_open_v2"] {
            let text = format!(
                r#"(module
                    (import "wasi_snapshot_preview1" "{function}"
                      (func $open (param i32 i32 i32) (result i32)))
                    (memory (export "memory") 1)
                    (func (export "_start")
                      (call $open (i32.const {family}) (i32.const 2) (i32.const 64))
                      (if (i32.ne (i32.const {errno})) (then unreachable))))"#
            );
            let mut guest = Guest::command("guest");
            guest.network = true;
            let seen = outcome(&text, guest);
            assert_eq!(seen, Outcome::Exit(0), "{function} of {family}");
        }
    }
}

/// As WASI 0.1 has it, and as WasmEdge had it before.
#[test]
fn sock_accept_comes_with_two_and_with_three_parameters() {
    for parameters in ["i32 i32", "i32 i32 i32"] {
        let text = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "sock_accept"
                  (func (param {parameters}) (result i32)))
                (memory (export "memory") 1)
                (func (export "_start")))"#
        );
        assert_eq!(outcome(&text, Guest::command("guest")), Outcome::Exit(0));
    }
}

#[test]
fn an_import_of_another_type_is_refused_at_load() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
        (memory (export "memory") 1)
        (func (export "_start")))"#;
    assert!(refusal(text).contains("proc_exit"));
}

/// The guest ends with the number of the first directory that is not where it
/// belongs.
#[test]
fn directories_are_found_in_their_order() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_prestat_dir_name"
          (func $name (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $n i32)
          (loop $next
            (if (call $name (i32.add (local.get $n) (i32.const 3)) (i32.const 0) (i32.const 1))
              (then (call $exit (i32.add (local.get $n) (i32.const 100)))))
            (if (i32.ne (i32.load8_u (i32.const 0)) (i32.add (local.get $n) (i32.const 97)))
              (then (call $exit (i32.add (local.get $n) (i32.const 1)))))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $n) (i32.const 6))))))"#;
    let tree = tempfile::tempdir().expect("a directory");
    let directory = |name: &str| {
        let path = tree.path().join(name);
        fs::create_dir(&path).expect("a directory");
        Directory {
            dir: File::open(path).expect("a directory"),
            name: name.into(),
            rights: Rights::ReadWrite,
        }
    };
    let mut guest = Guest::command("guest");
    guest.directories = ["a", "b", "c", "d", "e", "f"].map(directory).into();
    assert_eq!(outcome(text, guest), Outcome::Exit(0));
}

#[test]
fn an_uncaught_exception_is_a_trap_that_says_so() {
    let throw = r#"(module (tag $e) (func $fly (export "_start") (throw $e)))"#;
    let outcome = outcome(throw, Guest::command("guest"));
    let Outcome::Trap(why) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(why.contains("exception"), "{why}");
}

#[test]
fn no_thread_is_started() {
    let text = r#"(module
        (import "wasi" "thread-spawn" (func (param i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")))"#;
    assert!(refusal(text).contains("thread-spawn"));
}
