//! WasmEdge where its library cannot be loaded. Where it can, it is an engine like the others.

use anyhow::{Result, ensure};
use trireme_tests::engines::Engine;

use super::cases;
use super::plugins::with_added;
use crate::command::Output;
use crate::test::Test;

cases! {
    needs: OldLibc,
    as_with_runc: [],
    wasm: [
        wasmedge_without_its_library_is_refused_with_the_remedy,
    ],
}

const PLUGIN: &str = "/opt/trireme/added/libtrireme_wasmedge.so";
const RUNTIME: &str = "io.containerd.wasmedge.v1";
/// What the message names: the library, and what to do about it.
const WORDS: [&str; 2] = ["libwasmedge.so.0", "install it"];

fn wasmedge_without_its_library_is_refused_with_the_remedy(test: &Test<'_>) -> Result<()> {
    with_added(test, Engine::WasmEdge, ("wasmedge", ""), || refused(test))?;
    test.next_container_runs()
}

fn refused(test: &Test<'_>) -> Result<()> {
    let named = ["handler \"wasmedge\"", "engine \"wasmedge\"", PLUGIN];
    let output = test.run_of(RUNTIME, test.mode.image(), &["/hello.wasm"])?;
    ensure!(output.code != 0, "{output:?}");
    names(&output, &[&named[..], &WORDS].concat())?;
    if test.has_docker() {
        let image = "trireme.test/hello:wasi-wasm";
        let words = ["docker", "run", "--rm", "--runtime", RUNTIME];
        let output = test.exec(&[&words[..], &["--platform", "wasi/wasm", image]].concat())?;
        ensure!(output.code == 125, "{output:?}");
        names(&output, &[&named[..], &WORDS].concat())?;
    }
    let engines = test.exec(&["trireme", "engines"])?;
    names(&engines, &WORDS)
}

fn names(output: &Output, words: &[&str]) -> Result<()> {
    let text = format!("{}{}", output.stdout, output.stderr);
    for word in words {
        ensure!(text.contains(word), "`{word}` is not told: {output:?}");
    }
    Ok(())
}
