//! An engine from a plugin, on an installation that runs.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use trireme_tests::paths;

use super::cases;
use crate::command::{LIMIT, Output};
use crate::mode::CONFIG;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        wasmi_is_added_by_a_few_lines_and_no_build,
        a_plugin_that_cannot_be_used_is_refused_with_the_remedy,
    ],
}

const PLUGIN: &str = "/opt/trireme/added/libtrireme_wasmi.so";
const RUNTIME: &str = "io.containerd.added.v1";

/// Writes the plugin of this build to its place in the host, which need not see the files of the
/// build.
fn install(test: &Test<'_>) -> Result<()> {
    let built = paths::dist_bin()?.join("../lib/trireme/engines/libtrireme_wasmi.so");
    let bytes = std::fs::read(&built)
        .with_context(|| format!("{}: run `make build` first", built.display()))?;
    let digits = bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let script = format!(
        "mkdir -p $(dirname {PLUGIN}); perl -e 'local $/; print pack(\"H*\", <STDIN>)' > {PLUGIN}"
    );
    let mut running = test.start(&["sh", "-ec", &script])?;
    running.write(&digits)?;
    running.close_stdin();
    running.finish(LIMIT)?.expect(0)?;
    Ok(())
}

/// Adds the engine and its handler to the configuration, and the name under which containerd
/// starts the shim.
fn add(test: &Test<'_>) -> Result<()> {
    install(test)?;
    let server = test.mode.server().name();
    let script = format!(
        "ln -sf containerd-shim-trireme-v1 /opt/trireme/bin/containerd-shim-added-v1\n\
         cp /etc/trireme/config.toml /etc/trireme/config.before\n\
         cat > /etc/trireme/config.toml <<'END'\n\
         {CONFIG}\
         [engines]\n\
         wasmi.plugin = \"{PLUGIN}\"\n\
         [handlers.added]\n\
         engine = \"wasmi\"\n\
         server = \"{server}\"\n\
         END"
    );
    test.exec(&["sh", "-ec", &script])?.expect(0)?;
    Ok(())
}

fn take_back(test: &Test<'_>) -> Result<()> {
    let script = "mv /etc/trireme/config.before /etc/trireme/config.toml\n\
                  rm -r /opt/trireme/added /opt/trireme/bin/containerd-shim-added-v1";
    test.exec(&["sh", "-ec", script])?.expect(0)?;
    Ok(())
}

/// A case between the two.
fn with_wasmi(test: &Test<'_>, case: impl FnOnce() -> Result<()>) -> Result<()> {
    add(test)?;
    let result = case();
    take_back(test)?;
    result?;
    test.next_container_runs()
}

fn wasmi_is_added_by_a_few_lines_and_no_build(test: &Test<'_>) -> Result<()> {
    let run = |guest: &[&str]| test.run_of(RUNTIME, test.mode.image(), guest);
    // What the server of the installation serves goes on meanwhile.
    let mut running = test.start(&[
        "ctr",
        "run",
        "--rm",
        "--runtime",
        test.mode.runtime(),
        test.mode.image(),
        "before",
        "/sleep.wasm",
        "60",
    ])?;
    running.wait_for("sleeping")?;
    with_wasmi(test, || {
        let output = run(&["/hello.wasm"])?.expect(0)?;
        ensure!(output.stdout == "hello from the guest\n", "{output:?}");
        let output = run(&["/exit.wasm", "7"])?;
        ensure!(output.code == 7, "{output:?}");
        let output = run(&["/trap.wasm"])?;
        ensure!(output.code == 134, "{output:?}");
        names(&output, &["wasmi", "/trap.wasm", "unreachable"])?;
        let engines = test.exec(&["trireme", "engines"])?.expect(0)?;
        let listed = engines
            .stdout
            .lines()
            .any(|line| line.starts_with("wasmi ") && line.ends_with(PLUGIN));
        ensure!(listed, "{engines:?}");
        Ok(())
    })?;
    test.ctr(&["task", "kill", "--signal", "SIGKILL", "before"])?;
    running.finish(LIMIT)?.expect(137)?;
    Ok(())
}

fn a_plugin_that_cannot_be_used_is_refused_with_the_remedy(test: &Test<'_>) -> Result<()> {
    with_wasmi(test, || {
        for (harm, words) in [
            (format!("chmod o+w {PLUGIN}"), ["may write", "chmod go-w"]),
            (
                format!("chmod 755 {PLUGIN}; chown 1 {PLUGIN}"),
                ["owned by user 1", "chown root"],
            ),
            (
                format!("rm {PLUGIN}"),
                ["No such file", "[engines.wasmi] plugin"],
            ),
        ] {
            test.exec(&["sh", "-ec", &harm])?.expect(0)?;
            let output = test.run_of(RUNTIME, test.mode.image(), &["/hello.wasm"])?;
            ensure!(output.code != 0, "{harm}: {output:?}");
            names(&output, &["handler \"added\"", "engine \"wasmi\"", PLUGIN])?;
            names(&output, &words)?;
        }
        Ok(())
    })
}

fn names(output: &Output, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(
            output.stderr.contains(word),
            "`{word}` is not told: {output:?}"
        );
    }
    Ok(())
}
