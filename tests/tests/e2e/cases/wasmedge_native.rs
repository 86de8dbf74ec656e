//! WasmEdge with a handler that has it compile to native code.

use anyhow::{Result, ensure};
use trireme_tests::engines::Engine;

use super::cache::{clear, entries};
use super::cases;
use super::plugins::with_added;
use crate::test::Test;

cases! {
    needs: WasmEdge,
    as_with_runc: [],
    wasm: [
        wasmedge_runs_native_code_from_the_cache,
        a_full_stack_of_native_code_is_told,
    ],
}

const HANDLER: &str = "native";
const SETTINGS: &str = ", settings = { compiler = \"llvm\" }";
const RUNTIME: &str = "io.containerd.native.v1";

/// Without native code, the entry would be as large as the module and a header.
fn wasmedge_runs_native_code_from_the_cache(test: &Test<'_>) -> Result<()> {
    with_added(test, Engine::WasmEdge, (HANDLER, SETTINGS), || {
        clear(test)?;
        let run = |guest: &[&str]| test.run_of(RUNTIME, test.mode.image(), guest);
        let mut made = String::new();
        for start in ["first", "second"] {
            let output = run(&["/hello.wasm"])?.expect(0)?;
            ensure!(output.stdout == "hello from the guest\n", "{output:?}");
            let filed = entries(test)?;
            ensure!(filed.lines().count() == 1, "{start}: {filed}");
            ensure!(
                start == "first" || filed == made,
                "made again: {made}, {filed}"
            );
            made = filed;
        }
        let size = made.split_whitespace().last().unwrap_or_default();
        ensure!(size.parse::<u64>()? > 10_000, "{made}");
        let output = run(&["/exit.wasm", "7"])?;
        ensure!(output.code == 7, "{output:?}");
        traps(test, "/trap.wasm", "unreachable")
    })?;
    test.next_container_runs()
}

fn traps(test: &Test<'_>, guest: &str, reason: &str) -> Result<()> {
    let output = test.run_of(RUNTIME, test.mode.image(), &[guest])?;
    let said = format!("trireme: wasmedge: {guest}: trap: {reason}");
    ensure!(
        output.code == 134 && output.stderr.contains(&said),
        "{output:?}"
    );
    Ok(())
}

/// Without a limit of memory: native code fills the stack of its process, whose end is a fault.
fn a_full_stack_of_native_code_is_told(test: &Test<'_>) -> Result<()> {
    with_added(test, Engine::WasmEdge, (HANDLER, SETTINGS), || {
        traps(test, "/stack.wasm", "the stack is full")
    })?;
    test.next_container_runs()
}
