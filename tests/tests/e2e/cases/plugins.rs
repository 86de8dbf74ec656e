//! An engine from a plugin, on an installation that runs.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use trireme_tests::engines::Engine;
use trireme_tests::paths;

use super::{cache, cases, soak};
use crate::command::{LIMIT, Output};
use crate::mode::CONFIG;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        wasmi_is_added_by_two_lines_and_no_build,
        a_plugin_that_cannot_be_used_is_refused_with_the_remedy,
        a_plugin_that_is_replaced_is_of_another_build,
    ],
    on_each_host: [a_plugin_that_crashes_or_hangs_is_told_of],
}

const PLUGIN: &str = "/opt/trireme/added/libtrireme_wasmi.so";
/// The runtime of the handler `added`.
pub(super) const RUNTIME: &str = "io.containerd.added.v1";

/// Where plugins are added.
pub(super) const ADDED: &str = "/opt/trireme/added";

/// Has `act` on an installation to which an engine was added: its plugin in [`ADDED`], two lines in
/// the configuration, whose handler may have more members, and the name under which containerd starts
/// the shim.
pub(super) fn with_added<T>(
    test: &Test<'_>,
    engine: Engine,
    (handler, more): (&str, &str),
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let file = engine.plugin().context("it is no plugin")?;
    test.install_plugin(file, ADDED)?;
    with_plugin(test, (engine.name(), file), (handler, more), act)
}

/// The same for a plugin that is in [`ADDED`]. Both are removed thereafter.
pub(super) fn with_plugin<T>(
    test: &Test<'_>,
    (name, file): (&str, &str),
    (handler, more): (&str, &str),
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let link = format!("/opt/trireme/bin/containerd-shim-{handler}-v1");
    test.exec(&["ln", "-sf", "containerd-shim-trireme-v1", &link])?
        .expect(0)?;
    let server = test.mode.server().name();
    let config = format!(
        "engines.{name}.plugin = \"{ADDED}/{file}\"\n\
         handlers.{handler} = {{ engine = \"{name}\", server = \"{server}\"{more} }}\n\
         {CONFIG}"
    );
    let result = test.with_config(&config, act);
    test.exec(&["rm", "-r", ADDED, &link])?.expect(0)?;
    result
}

/// A case on an installation with wasmi.
fn with_wasmi(test: &Test<'_>, case: impl FnOnce() -> Result<()>) -> Result<()> {
    with_added(test, Engine::Wasmi, ("added", ""), case)?;
    test.next_container_runs()
}

fn wasmi_is_added_by_two_lines_and_no_build(test: &Test<'_>) -> Result<()> {
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
        is_listed(test, "wasmi", PLUGIN)
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

/// By the server that goes on, for what begins from then on. Whoever runs goes on, too.
fn a_plugin_that_is_replaced_is_of_another_build(test: &Test<'_>) -> Result<()> {
    // The digits of its build id are any.
    let replace = format!(
        "cp {PLUGIN} {PLUGIN}.new\n\
         note='\\x04\\x00\\x00\\x00.\\x00\\x00\\x00\\x03\\x00\\x00\\x00GNU\\x00'\n\
         at=$(LC_ALL=C grep -obUaP \"$note\" {PLUGIN}.new | head -n 1 | cut -d: -f1)\n\
         printf replaced | dd of={PLUGIN}.new bs=1 seek=$((at + 16)) conv=notrunc 2>/dev/null\n\
         mv {PLUGIN}.new {PLUGIN}"
    );
    let is_kept = |count: usize| {
        test.run_of(RUNTIME, test.mode.image(), &["/hello.wasm"])?
            .expect(0)?;
        let kept = test.exec(&["ls", &format!("{}/entries", cache::CACHE)])?;
        ensure!(
            kept.stdout.lines().count() == count,
            "not {count}: {kept:?}"
        );
        Ok(())
    };
    with_wasmi(test, || {
        cache::clear(test)?;
        let image = test.mode.image();
        let sleep = ["before", "/sleep.wasm", "60"];
        let words = ["ctr", "run", "--rm", "--runtime", RUNTIME, image];
        let mut running = test.start(&[&words[..], &sleep].concat())?;
        running.wait_for("sleeping")?;
        is_kept(2)?;
        test.exec(&["sh", "-ec", &replace])?.expect(0)?;
        is_kept(3)?;
        is_kept(3)?;
        test.ctr(&["task", "kill", "--signal", "SIGKILL", "before"])?;
        running.finish(LIMIT)?.expect(137).map(drop)
    })
}

/// That `trireme engines` tells an engine with the file of its plugin.
pub(super) fn is_listed(test: &Test<'_>, name: &str, file: &str) -> Result<()> {
    let engines = test.exec(&["trireme", "engines"])?.expect(0)?;
    let start = format!("{name} ");
    let is_it = |line: &str| line.starts_with(&start) && line.ends_with(file);
    ensure!(engines.stdout.lines().any(is_it), "{engines:?}");
    Ok(())
}

/// Where it does, and what the client is told beside the handler, the plugin and where that is
/// configured.
const WAYS: [(&str, &str); 5] = [
    ("crash open", "ended with status 139"),
    ("crash create", "ended with status 139"),
    ("crash compile", "the compiler ended with status 139"),
    (
        "crash load",
        "init, which was not ready yet, ended with status 139",
    ),
    ("hang compile", "raise compile_timeout"),
];

fn a_plugin_that_crashes_or_hangs_is_told_of(test: &Test<'_>) -> Result<()> {
    // A call that is not to compile has thirty seconds.
    let patient: &[_] = if soak() {
        &[("hang load", "`load` took more than 30 s")]
    } else {
        &[]
    };
    for (way, said) in WAYS.iter().chain(patient) {
        let file = install_bad(test, way)?;
        let limits = ", limits = { compile_timeout = \"2s\" }";
        with_plugin(test, ("bad", &file), ("added", limits), || {
            let output = test.run_of(RUNTIME, test.mode.image(), &["/hello.wasm"])?;
            ensure!(output.code != 0, "{way}: {output:?}");
            let config = "/etc/trireme/config.toml";
            let plugin = format!("{ADDED}/{file}");
            let named: &[&str] = match *way {
                // That says what to change, and not what for.
                "hang compile" => &["handler \"added\"", "[handlers.added.limits]"],
                _ => &["handler \"added\"", &plugin, "[engines.bad] plugin", config],
            };
            names(&output, named).and_then(|()| names(&output, &[said]))
        })
        .with_context(|| (*way).to_owned())?;
    }
    test.next_container_runs()
}

/// Compiles the plugin that misbehaves in one way, puts it into [`ADDED`] and returns its name.
fn install_bad(test: &Test<'_>, way: &str) -> Result<String> {
    let file = format!("libtrireme_bad_{}.so", way.replace(' ', "_"));
    let root = paths::checkout();
    let host = test.host.instance.kind.name;
    let unique = format!("trireme-{}-{host}-{file}", std::process::id());
    let built = std::env::temp_dir().join(unique);
    let output = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC", "-O1", "-Wl,--build-id"])
        .arg(format!("-DBAD_WAY=\"{way}\""))
        .arg("-I")
        .arg(root.join("plugins/api/include"))
        .arg("-o")
        .arg(&built)
        .arg(root.join("executor/tests/plugins/bad.c"))
        .output()
        .context("cc")?;
    ensure!(output.status.success(), "cc: {output:?}");
    let written = test
        .host
        .write(&format!("{ADDED}/{file}"), &mut File::open(&built)?);
    fs::remove_file(&built)?;
    written.map(|()| file)
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
