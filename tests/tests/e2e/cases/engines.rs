//! Several engines in one containerd, and handlers that cannot have theirs.

use anyhow::{Result, ensure};
use trireme_tests::engines::Engine;
use trireme_tests::engines::page::{self, REPORTS, Report};

use super::{cases, plugins};
use crate::command::{LIMIT, Output};
use crate::mode::{MISSING, Mode, UNSET, handler};
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        engines_are_what_their_page_says,
        an_unknown_handler_is_told_with_those_there_are,
        an_engine_that_is_not_there_is_told_with_those_that_are,
        a_setting_that_the_engine_lacks_is_told,
        a_component_on_an_engine_without_components_is_told,
        a_handler_runs_linux_programs_too,
        an_engine_as_a_plugin_does_the_same,
    ],
    on_each_host: [
        every_engine_runs_twenty_guests_at_once,
    ],
}

fn engines_are_what_their_page_says(test: &Test<'_>) -> Result<()> {
    let output = test.exec(&["trireme", "engines", "--json"])?.expect(0)?;
    let said: Vec<Report> = serde_json::from_str(&output.stdout)?;
    let recorded = page::reports()?;
    for engine in test.engines() {
        let report = said.iter().find(|report| report.name == engine.name());
        let record = recorded.iter().find(|report| report.name == engine.name());
        ensure!(
            report.is_some() && report == record,
            "{REPORTS} is stale: give trireme-engines a file with this {report:#?}"
        );
    }
    Ok(())
}

/// All are there before the first one goes on. Each traps then, since the message of a trap names
/// the engine.
fn every_engine_runs_twenty_guests_at_once(test: &Test<'_>) -> Result<()> {
    let engines: Vec<_> = test.engines().collect();
    let count = engines.len() * 20;
    // Their input ends for all of them at once.
    let mut script = format!("mkfifo /run/{0}; exec 3<> /run/{0}\n", test.id);
    for engine in &engines {
        let runtime = Mode::Wasm(*engine, test.mode.server()).runtime();
        script += &format!(
            "for n in $(seq 20); do (said=$(ctr run --rm --runtime {runtime} {image} \
             {id}-{name}-$n /wait.wasm 2>&1 < /run/{id} 3>&-); echo {name} $? $said) 3>&- & done\n",
            image = test.mode.image(),
            id = test.id,
            name = engine.name(),
        );
    }
    script += &format!(
        "for second in $(seq 180); do\n\
         [ \"$(ctr task ls | grep -c RUNNING)\" != {count} ] || break; sleep 1\n\
         done\n\
         echo $(ctr task ls | grep -c RUNNING) at once\n\
         exec 3>&-; wait; rm /run/{id}",
        id = test.id,
    );
    let output = test
        .start(&["sh", "-c", &script])?
        .finish(LIMIT * 4)?
        .expect(0)?;
    let at_once = format!("{count} at once");
    ensure!(
        output.stdout.lines().any(|line| line == at_once),
        "not {at_once}: {output:?}"
    );
    for engine in engines {
        let name = engine.name();
        let own = format!("{name} 134 trireme: {name}: /wait.wasm: trap");
        let right = output.stdout.lines().filter(|line| line.starts_with(&own));
        let right = right.count();
        ensure!(right == 20, "{name}: {right} of 20 in {output:?}");
    }
    Ok(())
}

/// That every client is told these words, and nothing ran.
fn is_told(
    test: &Test<'_>,
    runtime: &str,
    image: &str,
    guest: &[&str],
    words: &[&str],
) -> Result<()> {
    let by_ctr = test.run_of(runtime, image, guest)?;
    tells(&by_ctr, words)?;
    if test.has_docker() {
        let entry = ["--entrypoint", guest[0], image];
        let run = ["docker", "run", "--name", &test.id, "--runtime", runtime];
        let by_docker = test.exec(&[&run[..], &entry, &guest[1..]].concat())?;
        test.exec(&["docker", "rm", "--force", &test.id])?
            .expect(0)?;
        tells(&by_docker, words)?;
    }
    test.next_container_runs()
}

fn tells(output: &Output, words: &[&str]) -> Result<()> {
    ensure!(output.code != 0 && output.stdout.is_empty(), "{output:?}");
    for word in words {
        ensure!(
            output.stderr.contains(word),
            "`{word}` is not told: {output:?}"
        );
    }
    Ok(())
}

/// Where the remedy is to be applied.
const CONFIG_FILE: &str = "/etc/trireme/config.toml";

fn an_unknown_handler_is_told_with_those_there_are(test: &Test<'_>) -> Result<()> {
    let runtime = "io.containerd.nonesuch.v1";
    let words = [
        "no handler \"nonesuch\"",
        "wasm-node",
        "[handlers.nonesuch]",
        CONFIG_FILE,
    ];
    is_told(test, runtime, test.mode.image(), &["/hello.wasm"], &words)
}

fn an_engine_that_is_not_there_is_told_with_those_that_are(test: &Test<'_>) -> Result<()> {
    let handler = handler(MISSING);
    let (engine, remedy) = ("engine \"triton\"", format!("[handlers.{handler}] engine"));
    let words = [
        handler,
        engine,
        "wasmtime, wasmer",
        "wasmi",
        &remedy,
        CONFIG_FILE,
    ];
    is_told(test, MISSING, test.mode.image(), &["/hello.wasm"], &words)
}

fn a_setting_that_the_engine_lacks_is_told(test: &Test<'_>) -> Result<()> {
    let handler = handler(UNSET);
    let remedy = format!("[handlers.{handler}.settings]");
    let words = [
        handler,
        "engine \"wasmer\"",
        "colour",
        "optimize",
        &remedy,
        CONFIG_FILE,
    ];
    is_told(test, UNSET, test.mode.image(), &["/hello.wasm"], &words)
}

fn a_component_on_an_engine_without_components_is_told(test: &Test<'_>) -> Result<()> {
    for engine in [Engine::Wasmer, Engine::Wasmi] {
        let runtime = Mode::Wasm(engine, test.mode.server()).runtime();
        let (name, guest) = (engine.name(), "/hello-component.wasm");
        let named = format!("handler \"{}\"", handler(runtime));
        let remedy = format!("[handlers.{}] engine in", handler(runtime));
        let words = [
            &named,
            name,
            guest,
            "component",
            "use an engine that takes components",
            &remedy,
            CONFIG_FILE,
        ];
        is_told(test, runtime, test.mode.image(), &[guest], &words)?;
    }
    Ok(())
}

fn a_handler_runs_linux_programs_too(test: &Test<'_>) -> Result<()> {
    let image = Mode::Runc.image();
    let output = test.run_of(test.mode.runtime(), image, &["/hello.wasm"])?;
    ensure!(output.expect(0)?.stdout == "hello from the guest\n");
    test.next_container_runs()
}

/// What each guest does with an engine linked in and with the same engine from a plugin.
fn an_engine_as_a_plugin_does_the_same(test: &Test<'_>) -> Result<()> {
    for engine in [Engine::Wasmtime, Engine::Wasmer] {
        let name = engine.name();
        let runtime = Mode::Wasm(engine, test.mode.server()).runtime();
        let linked_in = all_guests(test, engine, runtime)?;
        let file = format!("libtrireme_{name}.so");
        test.install_plugin(&file, plugins::ADDED)?;
        let from_plugin = plugins::with_plugin(test, (name, &file), ("added", ""), || {
            plugins::is_listed(test, name, &file)?;
            all_guests(test, engine, plugins::RUNTIME)
        })?;
        for (one, other) in linked_in.iter().zip(&from_plugin) {
            let seen =
                |output: &Output| (output.code, output.stdout.clone(), output.stderr.clone());
            ensure!(seen(one) == seen(other), "{one:?}\n{other:?}");
        }
    }
    test.next_container_runs()
}

fn all_guests(test: &Test<'_>, engine: Engine, runtime: &str) -> Result<Vec<Output>> {
    let component: (&str, &[&str], i32) = ("guests", &["/hello-component.wasm"], 0);
    let components = (engine == Engine::Wasmtime).then_some(component);
    let guests: [(&str, &[&str], i32); 10] = [
        ("guests", &["/hello.wasm"], 0),
        ("guests", &["/args.wasm", "one", "two words", ""], 0),
        ("guests", &["/env.wasm"], 0),
        ("guests", &["/cwd.wasm"], 0),
        ("guests", &["/exit.wasm", "7"], 7),
        ("guests", &["/streams.wasm"], 0),
        (
            "guests",
            &["/files.wasm", "write:/new", "read:/new", "read:/absent"],
            0,
        ),
        ("guests", &["/trap.wasm"], 134),
        ("guests", &["/tiny.wasm#other"], 0),
        ("go", &["/go.wasm", "x"], 0),
    ];
    let run = |(image, guest, code): &(&str, &[&str], i32)| {
        let image = format!("trireme.test/{image}:latest");
        test.run_of(runtime, &image, guest)?.expect(*code)
    };
    guests.iter().chain(&components).map(run).collect()
}
