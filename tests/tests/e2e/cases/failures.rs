//! Programs that cannot be run, or fail: whoever reads the message knows what to do, and the next
//! container runs.

use anyhow::{Result, ensure};

use super::cases;
use crate::command::Output;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [],
    on_each_engine: {
        as_with_runc: [
            a_missing_entry_point_is_named,
        ],
        wasm: [
            a_trap_is_told_with_its_function,
            a_load_out_of_bounds_is_told,
            a_full_stack_is_told,
            a_bad_magic_number_is_told,
            an_empty_file_is_told,
            a_truncated_module_is_told,
            a_missing_import_is_named,
            a_function_that_is_not_there_is_named,
            a_library_is_not_started,
            four_gigabytes_of_memory_harm_nobody,
            a_compile_that_takes_too_long_is_ended,
        ],
    },
}

/// All that a user sees of a failure, wherever it is shown.
fn message(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

fn names(output: &Output, words: &[&str]) -> Result<()> {
    let text = message(output).to_lowercase();
    for word in words {
        ensure!(
            text.contains(&word.to_lowercase()),
            "`{word}` is not told: {output:?}"
        );
    }
    Ok(())
}

fn traps(test: &Test<'_>, file: &str, words: &[&str]) -> Result<()> {
    let output = test.run(&[], &[file])?.expect(134)?;
    ensure!(
        output.stdout.is_empty(),
        "the message belongs on stderr: {output:?}"
    );
    names(&output, &[test.engine(), file])?;
    names(&output, words)?;
    test.next_container_runs()
}

fn refused(test: &Test<'_>, entry: &str, words: &[&str]) -> Result<()> {
    let output = test.run(&[], &[entry])?;
    ensure!(output.code != 0, "{output:?}");
    names(&output, &[entry.split('#').next().unwrap_or_default()])?;
    names(&output, words)?;
    test.next_container_runs()
}

fn a_missing_entry_point_is_named(test: &Test<'_>) -> Result<()> {
    refused(test, "/nothing.wasm", &["no such file or directory"])
}

fn a_trap_is_told_with_its_function(test: &Test<'_>) -> Result<()> {
    traps(test, "/trap.wasm", &["unreachable", "run_aground"])
}

fn a_load_out_of_bounds_is_told(test: &Test<'_>) -> Result<()> {
    traps(test, "/oob.wasm", &["out of bounds", "look_over_the_edge"])
}

/// Where an engine bounds no stack, the memory of the container does.
fn a_full_stack_is_told(test: &Test<'_>) -> Result<()> {
    let output = test.run(&["--memory-limit", "268435456"], &["/stack.wasm"])?;
    let output = output.expect(134)?;
    names(&output, &[test.engine(), "/stack.wasm", "stack"])?;
    test.next_container_runs()
}

fn a_bad_magic_number_is_told(test: &Test<'_>) -> Result<()> {
    refused(test, "/bad-magic.wasm", &[])
}

fn an_empty_file_is_told(test: &Test<'_>) -> Result<()> {
    refused(test, "/empty.wasm", &[])
}

fn a_truncated_module_is_told(test: &Test<'_>) -> Result<()> {
    refused(test, "/truncated.wasm", &[test.engine(), "unexpected end"])
}

fn a_missing_import_is_named(test: &Test<'_>) -> Result<()> {
    refused(
        test,
        "/missing-import.wasm",
        &[test.engine(), "harbour", "open_lock"],
    )
}

fn a_function_that_is_not_there_is_named(test: &Test<'_>) -> Result<()> {
    refused(test, "/tiny.wasm#mutiny", &[test.engine(), "mutiny"])
}

fn a_library_is_not_started(test: &Test<'_>) -> Result<()> {
    refused(test, "/no-start.wasm", &["_start"])
}

fn four_gigabytes_of_memory_harm_nobody(test: &Test<'_>) -> Result<()> {
    let output = test.run(&["--memory-limit", "67108864"], &["/big-memory.wasm"])?;
    if output.code != 0 {
        names(&output, &["/big-memory.wasm", "memory"])?;
    }
    test.next_container_runs()
}

fn a_compile_that_takes_too_long_is_ended(test: &Test<'_>) -> Result<()> {
    let output = test.run_of(
        test.mode.impatient_runtime(),
        "trireme.test/slow:latest",
        &[],
    )?;
    ensure!(output.code != 0, "it was compiled in time: {output:?}");
    names(&output, &[test.engine(), "/slow.wasm", "compil", "2s"])?;
    test.next_container_runs()
}
