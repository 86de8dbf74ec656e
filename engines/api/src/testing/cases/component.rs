//! Components of `wasi:cli/command`.

use std::fs;

use super::{Case, cases};
use crate::testing::process::{End, Refusal};
use crate::testing::subject::{Subject, Trial};
use crate::{Kind, Outcome};

pub(super) const CASES: &[Case] = cases![
    a_component_prints_and_ends_with_zero,
    a_component_that_returns_an_error_ends_with_one,
    a_component_has_one_thread_after_the_run,
    a_component_appends_to_a_file,
    a_component_does_not_append_in_a_read_only_directory,
    an_exported_function_of_a_component_is_called,
    a_trap_in_a_component_names_cause_and_function,
    a_missing_entry_of_a_component_is_named_at_load,
    a_missing_import_of_a_component_is_named_at_load,
    a_component_without_run_is_refused_at_load,
    precompiled_garbage_for_a_component_is_refused,
];

const FILE: &str = include_str!("../guests/component-file.wat");
const COMPONENT: &str = include_str!("../guests/component.wat");

fn component(subject: &Subject, result: u8) -> Trial {
    subject.text(
        Kind::Component,
        &COMPONENT.replace("$RESULT", &result.to_string()),
    )
}

fn a_component_prints_and_ends_with_zero(subject: &Subject) {
    let trial = component(subject, 0);
    assert_eq!(trial.accepts(), End::Done);
    assert_eq!(trial.run().output(), "hello from the component\n");
}

fn a_component_that_returns_an_error_ends_with_one(subject: &Subject) {
    let ran = component(subject, 1).run();
    assert_eq!(ran.end, End::Exit(1));
    assert_eq!(ran.status.code(), Some(1));
}

fn a_component_has_one_thread_after_the_run(subject: &Subject) {
    assert_eq!(component(subject, 0).run().threads, 1);
}

fn a_component_appends_to_a_file(subject: &Subject) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("out.txt");
    fs::write(&file, "before\n").expect("a file");
    let trial = subject
        .text(Kind::Component, FILE)
        .directory(dir.path(), "/", true);
    trial.run().output();
    trial.run_compiled().output();
    let written = fs::read_to_string(file).expect("the file");
    assert_eq!(written, "before\nnon-blocking\nnon-blocking\n");
}

fn a_component_does_not_append_in_a_read_only_directory(subject: &Subject) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("out.txt");
    fs::write(&file, "before\n").expect("a file");
    let trial = subject
        .text(Kind::Component, FILE)
        .directory(dir.path(), "/", false);
    assert_eq!(trial.run().end, End::Exit(1));
    assert_eq!(fs::read_to_string(file).expect("the file"), "before\n");
}

fn an_exported_function_of_a_component_is_called(subject: &Subject) {
    let ran = component(subject, 0).entry("named").run();
    assert_eq!(ran.output(), "hello from the component\n");
}

fn a_trap_in_a_component_names_cause_and_function(subject: &Subject) {
    let ran = component(subject, 0).entry("other").run();
    assert_eq!(ran.status.code(), Some(i32::from(Outcome::ABORTED)));
    let End::Trap(why) = ran.end else {
        panic!("{:?}", ran.end)
    };
    assert!(why.contains("unreachable") && why.contains("boom"), "{why}");
}

fn a_missing_entry_of_a_component_is_named_at_load(subject: &Subject) {
    assert_link_error(
        &component(subject, 0).entry("absent"),
        &["absent", "named", "other"],
    );
}

fn a_missing_import_of_a_component_is_named_at_load(subject: &Subject) {
    let text = r#"(component (import "elsewhere:none/nothing@1.0.0" (instance
        (export "f" (func)))))"#;
    assert_link_error(
        &subject.text(Kind::Component, text),
        &["elsewhere:none/nothing"],
    );
}

fn a_component_without_run_is_refused_at_load(subject: &Subject) {
    assert_link_error(
        &subject.text(Kind::Component, "(component)"),
        &["wasi:cli/run"],
    );
}

fn assert_link_error(trial: &Trial, words: &[&str]) {
    let end = trial.run().end;
    let End::Refused {
        by: Refusal::Link,
        why,
    } = end
    else {
        panic!("{end:?}")
    };
    for word in words {
        assert!(why.contains(word), "no {word:?} in: {why}");
    }
}

fn precompiled_garbage_for_a_component_is_refused(subject: &Subject) {
    let trial = component(subject, 0);
    assert_eq!(trial.compile(), End::Done);
    let whole = fs::read(trial.code_file()).expect("the code");
    for bytes in [&b""[..], b"garbage", &[0; 4096], &whole[..whole.len() / 2]] {
        fs::write(trial.code_file(), bytes).expect("the code is written");
        let end = trial.run_compiled().end;
        assert!(
            matches!(
                end,
                End::Refused {
                    by: Refusal::Precompiled,
                    ..
                }
            ),
            "{end:?}"
        );
    }
}
