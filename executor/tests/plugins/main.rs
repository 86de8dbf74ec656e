//! Engines from plugins: what is refused, when, and in which words. Run as
//! root, whose files alone are opened.

mod minimal;
mod place;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use place::{
    MODULE, bad, copy, failure, probe, reason, run, run_with_libraries, run_with_limits, start,
};
use rustix::process::{Pid, Signal, kill_process};
use trireme_core::request::EngineState;
use trireme_engine::Limits;

/// Every message names the handler, the engine and the file.
fn assert_names(said: &str, plugin: &Path, words: &[&str]) {
    for word in [
        "handler \"h\"",
        "engine \"bad\"",
        &plugin.display().to_string(),
    ]
    .iter()
    .chain(words)
    {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn a_plugin_that_is_well_runs() {
    let output = run("bad", &bad(), MODULE, "");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"ran\n");
}

#[test]
fn a_limit_that_an_engine_does_not_enforce_is_refused() {
    let limits = Limits {
        stack: Some(1 << 20),
        ..Limits::default()
    };
    let output = run_with_limits("bad", &bad(), limits);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for word in [
        "handler \"h\": engine \"bad\" cannot enforce limits.stack",
        "remove it from [handlers.h.limits] in /etc/trireme/config.toml",
    ] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn a_file_that_is_no_plugin_is_refused() {
    let place = place::place();
    let missing = place.path().join("libnone.so");
    assert_names(
        &failure("bad", &missing, ""),
        &missing,
        &["No such file", "install it", "[engines.bad] plugin"],
    );
    let text = place.path().join("text.so");
    fs::write(&text, "not an object").expect("a file");
    assert_names(
        &failure("bad", &text, ""),
        &text,
        &["cannot be loaded: file too short", "[engines.bad] plugin"],
    );
    let source = place.path().join("other.c");
    let other = place.path().join("other.so");
    fs::write(&source, "int other(void) { return 0; }").expect("a source");
    cc(&[
        "-shared",
        "-fPIC",
        "-o",
        other.to_str().expect("text"),
        source.to_str().expect("text"),
    ]);
    assert_names(
        &failure("bad", &other, ""),
        &other,
        &[
            "not an engine",
            "trireme_plugin_table",
            "name the plugin's own file",
        ],
    );
}

fn cc(args: &[&str]) {
    let output = Command::new("cc").args(args).output().expect("cc");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_file_that_is_not_roots_alone_is_refused() {
    let place = place::place();
    let folder = place.path().join("engines");
    fs::create_dir(&folder).expect("a folder");
    let file = folder.join("libbad.so");
    copy(&bad(), &file);
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    mode(&file, 0o646);
    assert_names(
        &failure("bad", &file, ""),
        &file,
        &["may write", "chmod go-w"],
    );
    mode(&file, 0o755);
    mode(&folder, 0o1777);
    let said = failure("bad", &file, "");
    assert!(
        said.contains(&format!("chmod go-w {} ", folder.display())),
        "{said}"
    );
    mode(&folder, 0o755);
    chown(&file, Some(1), None).expect("another owner; are you root?");
    assert_names(
        &failure("bad", &file, ""),
        &file,
        &["owned by user 1", "chown root"],
    );
    chown(&file, Some(0), None).expect("root");
    assert_eq!(run("bad", &file, MODULE, "").status.code(), Some(7));
}

#[test]
fn a_table_or_info_that_makes_no_sense_is_refused() {
    let plugin = bad();
    for (way, words) in [
        ("version", ["version 2", "this is version 1"]),
        ("small table", ["of 16 bytes", "build it again"]),
        ("large table", ["of 4294967295 bytes", "build it again"]),
        ("no load", ["without `load`", "build it again"]),
        ("info null", ["`info`", "null pointer"]),
        ("info size", ["`info`", "too small"]),
        ("name null", ["the engine's name", "null pointer"]),
        ("name length", ["the engine's name", "is the most"]),
        ("name text", ["the engine's name", "not UTF-8"]),
        (
            "another name",
            ["holds the engine \"other\"", "[engines.other]"],
        ),
        ("kind", ["kind of WebAssembly 99", "not known"]),
        ("settings length", ["list of settings", "1024 is the most"]),
        ("settings null", ["list of settings", "null pointer"]),
    ] {
        assert_names(&failure("bad", &plugin, way), &plugin, &words);
    }
}

#[test]
fn what_a_verb_returns_is_checked() {
    let plugin = bad();
    for (way, word) in [
        ("create nothing", "the engine is a null pointer"),
        ("code null", "the code is a null pointer"),
        ("code length", "the code has a length of"),
        ("load nothing", "the program is a null pointer"),
    ] {
        let said = failure("bad", &plugin, way);
        for word in [
            word,
            "install a correct build",
            &plugin.display().to_string(),
        ] {
            assert!(said.contains(word), "{way}: no {word:?} in: {said}");
        }
    }
    for verb in ["create", "accepts", "compile", "load"] {
        for (how, word) in [
            ("status", "the status 77 is not known"),
            ("null", "its message is a null pointer"),
            ("length", "its message has a length of"),
            ("text", "its message is not UTF-8"),
        ] {
            let said = failure("bad", &plugin, &format!("{verb} {how}"));
            let verb = format!("`{verb}`");
            for word in [
                word,
                &verb,
                "install a correct build",
                &plugin.display().to_string(),
            ] {
                assert!(said.contains(word), "{verb} {how}: no {word:?} in: {said}");
            }
        }
    }
}

#[test]
fn an_outcome_that_makes_no_sense_ends_with_134() {
    let plugin = bad();
    for (way, word) in [
        ("run nothing", "the outcome 0 is not known"),
        ("run kind", "the outcome 99 is not known"),
        ("run code", "the exit code 256 is not known"),
        ("run null", "its message is a null pointer"),
        ("run text", "its message is not UTF-8"),
    ] {
        let output = run("bad", &plugin, MODULE, way);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(134), "{way}: {said}");
        for word in [
            word,
            "internal error",
            "`run`",
            &plugin.display().to_string(),
        ] {
            assert!(said.contains(word), "{way}: no {word:?} in: {said}");
        }
    }
}

/// All at a time, since each takes the whole of its limit.
#[test]
fn a_verb_that_hangs_ends_with_a_message_where_somebody_waits_for_it() {
    let plugin = bad();
    let begun = Instant::now();
    let ways = ["open", "info", "create", "accepts", "load"];
    let children = ways.map(|verb| (verb, start("bad", &plugin, MODULE, &format!("hang {verb}"))));
    for (verb, child) in children {
        let output = child.wait_with_output().expect("its output");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{verb}: {said}");
        let what = match verb {
            "open" | "info" => "opening it".to_owned(),
            verb => format!("`{verb}`"),
        };
        let words = [&what, "took more than 30 s", "([engines.bad] plugin in "];
        assert_names(&said, &plugin, &words);
    }
    assert!(begun.elapsed() > Duration::from_secs(29));
}

#[test]
fn a_run_that_hangs_is_the_guests_own_and_a_signal_ends_it() {
    use std::io::Read;
    let mut child = start("bad", &bad(), MODULE, "hang run");
    let mut word = [0; 4];
    let stdout = child.stdout.as_mut().expect("a pipe");
    stdout.read_exact(&mut word).expect("the guest's word");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a signal");
    assert_eq!(child.wait().expect("its status").code(), Some(143));
}

#[test]
fn a_library_that_a_plugin_needs_is_there_and_roots_alone() {
    let library = Library::new();
    let plugin = library.plugin();
    assert_eq!(run("bad", &plugin, MODULE, "").status.code(), Some(7));
    let mode = fs::Permissions::from_mode(0o666);
    fs::set_permissions(library.file(), mode).expect("a mode");
    assert_names(
        &failure("bad", &plugin, ""),
        &plugin,
        &["needs", "libextra.so", "chmod go-w"],
    );
    fs::remove_file(library.file()).expect("no library");
    assert_names(
        &failure("bad", &plugin, ""),
        &plugin,
        &["libextra.so", "not installed", "ldconfig"],
    );
}

#[test]
fn a_library_in_the_place_of_another_is_refused() {
    let library = Library::new();
    let plugin = library.plugin();
    let other = place::place();
    copy(&library.file(), &other.path().join("libextra.so"));
    let output = run_with_libraries("bad", &plugin, other.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert_names(&said, &plugin, &["libextra.so", "unset LD_LIBRARY_PATH"]);
}

#[test]
fn another_build_of_a_library_is_another_engine() {
    let library = Library::new();
    let plugin = library.plugin();
    let build = || match &probe(&[("bad", &plugin)], "")
        .iter()
        .find(|report| report.name == "bad")
        .expect("a report")
        .state
    {
        EngineState::Ready { build, .. } => build.clone(),
        state => panic!("{state:?}"),
    };
    let before = build();
    assert_eq!(build(), before);
    library.make("int extra(void) { return 1; }");
    assert_ne!(build(), before);
}

/// A library, and a plugin that needs it and finds it beside itself.
struct Library(tempfile::TempDir);

impl Library {
    fn new() -> Self {
        let library = Library(place::place());
        library.make("int extra(void) { return 0; }");
        library
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.to_str().expect("a path of text").to_owned()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("libextra.so")
    }

    fn make(&self, source: &str) {
        fs::write(self.path("extra.c"), source).expect("a source");
        let (file, source) = (self.path("libextra.so"), self.path("extra.c"));
        cc(&[
            "-shared",
            "-fPIC",
            "-Wl,--build-id,-soname,libextra.so",
            "-o",
            &file,
            &source,
        ]);
    }

    fn plugin(&self) -> PathBuf {
        let plugin = self.path("libneeds.so");
        cc(&[
            "-shared",
            "-fPIC",
            "-Wl,--build-id,--no-as-needed,-rpath,$ORIGIN",
            concat!("-I", env!("CARGO_MANIFEST_DIR"), "/../plugins/api/include"),
            "-o",
            &plugin,
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/bad.c"),
            &self.path("libextra.so"),
        ]);
        plugin.into()
    }
}

#[test]
fn engines_tells_of_plugins_in_the_place_of_what_is_linked_in() {
    let plugin = bad();
    let place = place::place();
    let missing = place.path().join("libnone.so");
    let link = place.path().join("link.so");
    symlink(&plugin, &link).expect("a link");
    let reports = probe(
        &[("bad", &link), ("none", &missing), ("wasmtime", &plugin)],
        "",
    );
    let of = |name: &str| {
        let all: Vec<_> = reports
            .iter()
            .filter(|report| report.name == name)
            .collect();
        let [one] = all[..] else {
            panic!("{name}: {reports:?}")
        };
        one
    };
    match &of("bad").state {
        EngineState::Ready {
            version,
            wasi,
            build,
            ..
        } => {
            assert_eq!(
                (version.as_str(), &wasi[..]),
                ("1.0", &["0.1".to_owned()][..])
            );
            assert!(build.len() >= 32, "{build}");
        }
        state => panic!("{state:?}"),
    }
    assert_eq!(of("bad").origin, link.display().to_string());
    assert!(reason(of("none")).contains("No such file"));
    assert!(reason(of("wasmtime")).contains("holds the engine \"bad\""));
}

#[test]
fn engines_outlives_plugins_that_crash_or_hang_or_exit() {
    let plugin = bad();
    for (way, word) in [
        ("crash open", "crashes when it is opened (signal 11)"),
        ("crash info", "crashes when it is opened (signal 11)"),
        ("crash create", "crashes when it is opened (signal 11)"),
        ("exit open", "ends the process that opens it"),
        ("hang create", "within 10 s"),
        ("create status", "the status 77"),
    ] {
        let reports = probe(&[("bad", &plugin)], way);
        let bad = reports.iter().find(|report| report.name == "bad");
        let said = reason(bad.expect("a report"));
        assert!(
            said.contains(word) && said.contains("install a correct build"),
            "{way}: {said}"
        );
    }
}

#[test]
fn a_crash_elsewhere_is_the_executors_own_end() {
    for verb in ["accepts", "compile", "load", "run"] {
        let output = run("bad", &bad(), MODULE, &format!("crash {verb}"));
        assert_eq!(output.status.signal(), Some(11), "{verb}: {output:?}");
    }
}
