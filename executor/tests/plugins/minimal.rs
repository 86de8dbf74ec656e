//! The small engine in C, from end to end.

use std::process::Output;

use crate::place::{minimal, run};

/// Writes `hello` and a line end, and exits with 3.
const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
    (call $exit (i32.const 3))
    nop))"#;

fn run_text(text: &str) -> Output {
    let wasm = wat::parse_str(text).expect("text");
    run("minimal", &minimal(), &wasm, "")
}

#[test]
fn constants_are_written_and_the_code_is_the_programs() {
    let output = run_text(HELLO);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stdout, b"hello\n");
    let returns = r#"(module (func (export "_start")))"#;
    assert_eq!(run_text(returns).status.code(), Some(0));
}

#[test]
fn what_it_does_not_take_is_refused_with_the_reason() {
    for (text, words) in [
        (
            r#"(module (import "sea" "row" (func)) (func (export "_start")))"#,
            "import \"sea\" \"row\" is not provided",
        ),
        (
            r#"(module (func (export "_start") (loop)))"#,
            "takes no instruction 0x03",
        ),
        (
            r#"(module (global i32 (i32.const 0)) (func (export "_start")))"#,
            "takes no section 6",
        ),
        (
            r#"(module (func (export "_start") (local i32)))"#,
            "takes no locals",
        ),
        (
            r#"(module (func $f) (func (export "_start") (call $f)))"#,
            "calls of a module's own functions",
        ),
        (
            r#"(module (memory 300) (func (export "_start")))"#,
            "256 pages at most, not 300",
        ),
        (
            r#"(module (memory 1) (data (i32.const 65530) "too far") (func (export "_start")))"#,
            "outside of the memory",
        ),
        ("(module)", "exported as \"_start\""),
        ("(component)", "takes no components"),
    ] {
        let output = run_text(text);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{text}: {said}");
        assert!(
            said.contains(words) && said.contains("minimal"),
            "{text}: {said}"
        );
    }
}

/// Every way to cut or change a module short of making another: the parser ends.
#[test]
fn no_damage_to_a_module_brings_the_process_down() {
    let whole = wat::parse_str(HELLO).expect("text");
    for length in (0..whole.len()).step_by(7) {
        let output = run("minimal", &minimal(), &whole[..length], "");
        assert_eq!(
            output.status.code(),
            Some(125),
            "cut at {length}: {output:?}"
        );
    }
    for at in (8..whole.len()).step_by(5) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x81;
        let output = run("minimal", &minimal(), &damaged, "");
        assert!(
            output.status.code().is_some(),
            "changed at {at}: {output:?}"
        );
    }
}
