//! What an engine must refuse, when, and with what reason.

use std::fs;

use super::{Case, cases};
use crate::Kind;
use crate::testing::process::{End, Refusal};
use crate::testing::subject::{Subject, Trial};

pub(super) const CASES: &[Case] = cases![
    garbage_is_rejected,
    a_truncated_module_is_rejected,
    an_ill_typed_module_is_rejected,
    a_component_is_not_a_module,
    a_missing_import_is_named_at_load,
    a_missing_entry_function_is_named_at_load,
    an_entry_function_with_parameters_is_refused_at_load,
    precompiled_garbage_is_refused,
    damaged_precompiled_code_is_refused,
];
pub(super) const NO_MODULES: &[Case] = cases![modules_are_refused];
pub(super) const NO_COMPONENTS: &[Case] = cases![components_are_refused];

const HELLO: &str = include_str!("../guests/hello.wat");
const ENTRIES: &str = include_str!("../guests/entries.wat");

/// `\0asm`, version 1, layer 0 and version 13, layer 1.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn modules_are_refused(subject: &Subject) {
    assert_rejected(&subject.wasm(Kind::Module, EMPTY_MODULE));
}

fn components_are_refused(subject: &Subject) {
    assert_rejected(&subject.wasm(Kind::Component, EMPTY_COMPONENT));
}

fn garbage_is_rejected(subject: &Subject) {
    for bytes in [&b""[..], b"(module)", b"\x7fELF", &[0; 4096]] {
        assert_rejected(&subject.wasm(Kind::Module, bytes));
    }
}

fn a_truncated_module_is_rejected(subject: &Subject) {
    let whole = subject.guest(HELLO).wasm;
    for length in [4, 7, 9, whole.len() / 2, whole.len() - 1] {
        assert_rejected(&subject.wasm(Kind::Module, &whole[..length]));
    }
}

fn an_ill_typed_module_is_rejected(subject: &Subject) {
    assert_rejected(&subject.text(Kind::Module, "(module (func (result i32) i64.const 0))"));
}

fn a_component_is_not_a_module(subject: &Subject) {
    assert_rejected(&subject.wasm(Kind::Module, EMPTY_COMPONENT));
    assert_rejected(&subject.wasm(Kind::Component, EMPTY_MODULE));
}

/// Both by `accepts` and by `compile`.
fn assert_rejected(trial: &Trial) {
    for (call, end) in [("accepts", trial.accepts()), ("compile", trial.compile())] {
        match end {
            End::Refused {
                by: Refusal::Rejected,
                why,
            } => assert!(!why.is_empty(), "{call}"),
            other => panic!("{call}: {other:?}"),
        }
    }
}

fn a_missing_import_is_named_at_load(subject: &Subject) {
    let trial = subject.text(Kind::Module, include_str!("../guests/missing-import.wat"));
    assert_link_error(&trial, &["elsewhere", "nothing"]);
}

fn a_missing_entry_function_is_named_at_load(subject: &Subject) {
    assert_link_error(
        &subject.guest(ENTRIES).entry("absent"),
        &["absent", "_start", "other"],
    );
}

fn an_entry_function_with_parameters_is_refused_at_load(subject: &Subject) {
    assert_link_error(
        &subject.guest(ENTRIES).entry("with-parameter"),
        &["with-parameter"],
    );
}

fn assert_link_error(trial: &Trial, words: &[&str]) {
    let ran = trial.run();
    assert_eq!(ran.stdout, b"");
    let End::Refused {
        by: Refusal::Link,
        why,
    } = ran.end
    else {
        panic!("{:?}", ran.end)
    };
    for word in words {
        assert!(why.contains(word), "no {word:?} in: {why}");
    }
}

fn precompiled_garbage_is_refused(subject: &Subject) {
    let trial = subject.guest(HELLO);
    for bytes in [&b""[..], b"garbage", &[0; 4096], b"\x7fELF"] {
        fs::write(trial.code_file(), bytes).expect("the code is written");
        assert_code_refused(&trial);
    }
}

/// Every engine checks how its code begins and that it is there to the end;
/// what lies between, the host's digest protects.
fn damaged_precompiled_code_is_refused(subject: &Subject) {
    let trial = subject.guest(HELLO);
    assert_eq!(trial.compile(), End::Done);
    let whole = fs::read(trial.code_file()).expect("the code");
    let mut flipped = whole.clone();
    flipped[0] ^= 1;
    for bytes in [&flipped[..], &whole[..whole.len() / 2]] {
        fs::write(trial.code_file(), bytes).expect("the code is written");
        assert_code_refused(&trial);
    }
}

fn assert_code_refused(trial: &Trial) {
    match trial.run_compiled().end {
        End::Refused {
            by: Refusal::Precompiled,
            why,
        } => assert!(!why.is_empty()),
        other => panic!("{other:?}"),
    }
}
