//! WasmEdge where its library cannot be loaded. Where it can, it is an engine like the others.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use trireme_tests::engines::Engine;
use trireme_tests::paths;

use super::cases;
use crate::command::Output;
use crate::mode::CONFIG;
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

fn add(test: &Test<'_>) -> Result<()> {
    let file = Engine::WasmEdge.plugin().context("it is a plugin")?;
    let built = paths::dist_plugins()?.join(file);
    let mut bytes =
        File::open(&built).with_context(|| format!("{}: run `make build`", built.display()))?;
    test.write(PLUGIN, &mut bytes)?;
    let server = test.mode.server().name();
    let script = format!(
        "ln -sf containerd-shim-trireme-v1 /opt/trireme/bin/containerd-shim-wasmedge-v1\n\
         cp /etc/trireme/config.toml /etc/trireme/config.before\n\
         cat > /etc/trireme/config.toml <<'END'\n\
         {CONFIG}\
         [engines]\n\
         wasmedge.plugin = \"{PLUGIN}\"\n\
         [handlers.wasmedge]\n\
         engine = \"wasmedge\"\n\
         server = \"{server}\"\n\
         END"
    );
    test.exec(&["sh", "-ec", &script])?.expect(0)?;
    Ok(())
}

fn take_back(test: &Test<'_>) -> Result<()> {
    let script = "mv /etc/trireme/config.before /etc/trireme/config.toml\n\
                  rm -r /opt/trireme/added /opt/trireme/bin/containerd-shim-wasmedge-v1";
    test.exec(&["sh", "-ec", script])?.expect(0)?;
    Ok(())
}

fn wasmedge_without_its_library_is_refused_with_the_remedy(test: &Test<'_>) -> Result<()> {
    add(test)?;
    let result = refused(test);
    take_back(test)?;
    result?;
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
