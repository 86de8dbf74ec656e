//! Plugins in tests: the adapter suite on one, and plugins in C.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};

use trireme_engine::testing::{self, KnownFailure, Words};

/// Runs the adapter suite on a plugin that cargo has built for this test
/// program, by its path from there. The first thing that `main` does, as
/// [`trireme_engine::testing::main`] says.
pub fn suite(file: &str, known: &'static [KnownFailure]) -> ExitCode {
    suite_with(file, &[], known)
}

/// The same with settings, each a key and a word.
pub fn suite_with(file: &str, settings: Words, known: &'static [KnownFailure]) -> ExitCode {
    let plugin = match std::env::current_exe() {
        Ok(program) => program.with_file_name(file),
        Err(error) => return fail(&error),
    };
    match super::open(&plugin) {
        Ok(adapter) => testing::main_with(adapter, settings, known),
        Err(error) => fail(&error),
    }
}

/// The same for a plugin anywhere.
pub fn suite_of(file: &Path, known: &'static [KnownFailure]) -> ExitCode {
    match super::open(file) {
        Ok(adapter) => testing::main_except(adapter, known),
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Compiles a plugin in C with the system's compiler, against this build's
/// header, and with all warnings for errors, unless that was done. Many tests
/// and processes may ask for one at a time.
///
/// # Panics
///
/// When it does not compile.
pub fn compile(sources: &[PathBuf], folder: &Path, name: &str) -> PathBuf {
    let plugin = folder.join(format!("libtrireme_{name}.so"));
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let folders = sources.iter().filter_map(|source| source.parent());
    let newest = folders
        .chain([&*include])
        .flat_map(std::fs::read_dir)
        .flatten()
        .filter_map(|entry| modified(&entry.ok()?.path()))
        .max();
    if modified(&plugin) > newest {
        return plugin;
    }
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let fresh = folder.join(format!("{name}-{}-{}.so", unique.0, unique.1));
    let output = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-O1"])
        .args([
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-Wl,--build-id",
        ])
        .arg("-I")
        .arg(include)
        .arg("-o")
        .arg(&fresh)
        .args(sources)
        .output()
        .unwrap_or_else(|error| panic!("cc: {error}"));
    assert!(
        output.status.success(),
        "cc: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(&fresh, &plugin)
        .unwrap_or_else(|error| panic!("{}: {error}", plugin.display()));
    plugin
}

fn modified(file: &Path) -> Option<std::time::SystemTime> {
    file.metadata().and_then(|about| about.modified()).ok()
}
