//! A panic in a plugin ends the process, and says which engine it was.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use trireme_engine::{Limits, Settings};

/// Says that this is the process to end.
const CHILD: &str = "TRIREME_PLUGIN_PANICS";

#[test]
fn a_panic_names_the_engine_and_ends_the_process() {
    let program = std::env::current_exe().expect("this program");
    if std::env::var_os(CHILD).is_some() {
        let plugin = program.with_file_name("../examples/libpanics.so");
        let adapter = trireme_plugin::host::open(&plugin).expect("a plugin");
        let settings = Settings::check(adapter.info().settings, &Default::default());
        let made = adapter.create(&settings.expect("settings"), &Limits::default());
        panic!("it goes on: {:?}", made.err());
    }
    let output = Command::new(program)
        .args(["--exact", "a_panic_names_the_engine_and_ends_the_process"])
        .arg("--nocapture")
        .env(CHILD, "1")
        .output()
        .expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{said}");
    assert!(
        said.contains("engine \"panics\": internal error") && said.contains("no engine today"),
        "{said}"
    );
}
