//! What one is told after a mistake.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of tests may panic as tests may"
)]

mod common;

use common::{MODULE, Place};

#[test]
fn a_wrong_option_is_trireme_s_own_failure() {
    let place = Place::new();
    let output = place.trireme(&["engines", "--jsno"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr.contains("--json"), "{stderr}");
    assert!(place.succeed(&["--version"]).starts_with("trireme "));
    assert!(place.succeed(&["--help"]).contains("compile"));
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_line() {
    let place = Place::new();
    place.write("c.toml", "[cache]\nmax_sise = 5\n");
    for command in [
        &["engines", "--config", "c.toml"][..],
        &["cache", "ls", "--config", "c.toml"],
        &["cache", "prune", "--config", "c.toml"],
        &["compile", "x.wasm", "--config", "c.toml"],
        &["run", "--config", "c.toml", "x.wasm"],
    ] {
        assert_eq!(
            place.fail(command),
            "c.toml:2: unknown key \"max_sise\"; did you mean \"max_size\"? It can be: dir, \
             max_size"
        );
    }
    let missing = place.fail(&["engines", "--config", "none.toml"]);
    assert!(
        missing.starts_with("cannot read the configuration none.toml: No such file"),
        "{missing}"
    );
}

#[test]
fn an_unknown_handler_is_answered_with_those_there_are() {
    let place = Place::new();
    place.config();
    place.write("x.wasm", MODULE);
    let expected = "no handler \"wasn\" (did you mean \"wasm\"?); config.toml has: trireme, wasm, \
                    wasm-node, wasmer, wasmtime. Add [handlers.wasn] to config.toml or choose \
                    another handler";
    let compile = [
        "compile",
        "--config",
        "config.toml",
        "--handler",
        "wasn",
        "x.wasm",
    ];
    assert_eq!(place.fail(&compile), expected);
    let run = [
        "run",
        "--config",
        "config.toml",
        "--handler",
        "wasn",
        "x.wasm",
    ];
    assert_eq!(place.fail(&run), expected);
}

#[test]
fn a_program_that_is_none_is_refused_before_an_engine_is_opened() {
    let place = Place::new();
    place.script("tool", "exit 0");
    assert_eq!(
        place.fail(&["run", "tool"]),
        "tool is a script; give a WebAssembly module or component"
    );
    assert!(
        place
            .fail(&["run", "x.wasm"])
            .starts_with("cannot read the program x.wasm: No such")
    );
    place.write("x.wasm", MODULE);
    assert_eq!(
        place.fail(&["run", "--dir", "none:/", "x.wasm"]),
        "--dir: none is not a folder"
    );
}

#[test]
fn an_executor_that_is_not_there_is_named() {
    let place = Place::new();
    let named = place.path("no-executor");
    let message = place.fail(&["engines"]);
    assert!(message.contains(named.to_str().unwrap()), "{message}");
    assert!(message.contains("TRIREME_EXECUTOR"), "{message}");
}

#[test]
fn the_cache_is_listed_and_pruned_where_there_is_nothing_yet() {
    let place = Place::new();
    let config = place.config();
    let config = config.to_str().unwrap();
    let listed = place.succeed(&["cache", "ls", "--config", config]);
    assert_eq!(
        listed.split_whitespace().collect::<Vec<_>>(),
        ["KEY", "ENGINE", "SIZE", "USED", "PROGRAM"]
    );
    assert_eq!(
        place.succeed(&["cache", "ls", "--json", "--config", config]),
        "[]\n"
    );
    let pruned = place.succeed(&["cache", "prune", "--all", "--config", config]);
    assert_eq!(pruned, "removed 0 entries, freed 0 B\n");
    let output = place
        .trireme(&["cache", "prune", "--max-size", "5MB"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("expected a size")
    );
}
