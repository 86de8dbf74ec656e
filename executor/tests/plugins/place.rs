//! The executor with a plugin of a test, as `trireme` runs it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde::Serialize;
use tempfile::TempDir;
use trireme_core::request::{EngineChoice, EngineReport, EngineState, ProbeRequest, RunRequest};
use trireme_engine::Limits;
use trireme_plugin::host::testing;

/// A module that any engine takes, until it runs it.
pub const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The folder of the tests' plugins; root's own, as their path has to be.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The plugin that misbehaves as `BAD` says.
pub fn bad() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/bad.c");
    testing::compile(&[source], folder(), "bad")
}

/// The small engine in C.
pub fn minimal() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/c-minimal");
    let sources = ["minimal.c", "module.c"].map(|name| sources.join(name));
    testing::compile(&sources, folder(), "minimal")
}

/// A folder for one test that root alone can change.
pub fn place() -> TempDir {
    tempfile::tempdir_in(folder()).expect("a folder")
}

/// What the handler `h` chooses.
pub fn choice(engine: &str, plugin: &Path) -> EngineChoice {
    EngineChoice {
        handler: "h".into(),
        engine: engine.into(),
        plugin: Some(plugin.into()),
        settings: Default::default(),
        limits: Default::default(),
        config: "/etc/trireme/config.toml".into(),
        plugins: vec![engine.into()],
    }
}

/// The executor with a request, which misbehaves in this way.
fn executor(verb: &str, request: &impl Serialize, way: &str) -> Command {
    let mut file = File::from(
        rustix::fs::memfd_create("request", rustix::fs::MemfdFlags::empty()).expect("memory"),
    );
    serde_json::to_writer(&mut file, request).expect("a request");
    file.rewind().expect("its start");
    let mut command = Command::new(env!("CARGO_BIN_EXE_trireme-executor"));
    command
        .args([verb, "--request-fd", &file.as_raw_fd().to_string()])
        .env("BAD", way)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Other tests' children may get it too, and do not mind.
    std::mem::forget(file);
    command
}

/// A run of `wasm` that is on its way.
pub fn start(engine: &str, plugin: &Path, wasm: &[u8], way: &str) -> Child {
    request_to_run(engine, plugin, wasm, way)
        .spawn()
        .expect("the executor")
}

/// What a run says that finds libraries in this folder first.
pub fn run_with_libraries(engine: &str, plugin: &Path, folder: &Path) -> Output {
    request_to_run(engine, plugin, MODULE, "")
        .env("LD_LIBRARY_PATH", folder)
        .output()
        .expect("the executor")
}

/// What a run says whose handler sets limits.
pub fn run_with_limits(engine: &str, plugin: &Path, limits: Limits) -> Output {
    let mut choice = choice(engine, plugin);
    choice.limits = limits;
    request_to_run_by(choice, MODULE, "")
        .output()
        .expect("the executor")
}

fn request_to_run(engine: &str, plugin: &Path, wasm: &[u8], way: &str) -> Command {
    request_to_run_by(choice(engine, plugin), wasm, way)
}

fn request_to_run_by(engine: EngineChoice, wasm: &[u8], way: &str) -> Command {
    let mut program = tempfile::NamedTempFile::new_in(folder()).expect("a file");
    program.write_all(wasm).expect("a program");
    // Named by what it holds: there is one for each program, however often it is run.
    let file = folder().join(format!("program-{:x}", hash(wasm)));
    program.persist(&file).expect("a file that stays");
    let request = RunRequest {
        engine,
        file,
        invoke: None,
        args: vec!["guest".into()],
        env: Vec::new(),
        directories: Vec::new(),
        cache: None,
    };
    executor("run", &request, way)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// A run to its end.
pub fn run(engine: &str, plugin: &Path, wasm: &[u8], way: &str) -> Output {
    start(engine, plugin, wasm, way)
        .wait_with_output()
        .expect("its output")
}

/// What a run that fails says, on one line.
pub fn failure(engine: &str, plugin: &Path, way: &str) -> String {
    let output = run(engine, plugin, MODULE, way);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{way}: {said}");
    assert_eq!(said.lines().count(), 1, "{way}: {said}");
    said
}

/// What `trireme engines` is told of these plugins.
pub fn probe(plugins: &[(&str, &Path)], way: &str) -> Vec<EngineReport> {
    let plugins = plugins
        .iter()
        .map(|(engine, plugin)| ((*engine).to_owned(), (*plugin).to_owned()));
    let request = ProbeRequest {
        plugins: plugins.collect(),
    };
    let mut child = executor("probe", &request, way)
        .spawn()
        .expect("the executor");
    let mut text = String::new();
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_to_string(&mut text).expect("a report");
    assert!(child.wait().expect("its status").success(), "{text}");
    serde_json::from_str(&text).expect("reports")
}

/// Why the engine of a report is not there.
pub fn reason(report: &EngineReport) -> &str {
    match &report.state {
        EngineState::Missing { reason } => reason,
        EngineState::Ready { .. } => panic!("it is there: {report:?}"),
    }
}

/// Copies a file, so that its owner and mode can be changed.
pub fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a copy");
}
