//! What the tests of the command line share.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of tests may panic as tests may"
)]
#![allow(dead_code, reason = "no test file uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Copies a program by another process. A descriptor of ours, open for writing,
/// would reach whatever another test spawns meanwhile, and a file that is open
/// for writing cannot be executed.
pub fn install(from: &Path, to: &Path) {
    let done = Command::new("install")
        .arg("-m755")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

/// A folder of its own, with `trireme` run inside it.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let source = self.write("script", format!("#!/bin/sh\n{body}\n"));
        install(&source, &self.path(name));
        fs::remove_file(source).unwrap();
        self.path(name)
    }

    /// A configuration whose cache is inside the folder.
    pub fn config(&self) -> PathBuf {
        let text = format!("[cache]\ndir = \"{}\"\n", self.path("cache").display());
        self.write("config.toml", text)
    }

    /// `trireme` with these arguments, without an executor in reach.
    pub fn trireme(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trireme"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("TRIREME_EXECUTOR", self.path("no-executor"))
            .env("HOME", self.dir.path())
            .env_remove("XDG_CACHE_HOME");
        command
    }

    /// Like [`Place::trireme`], with a shell script for an executor. Its
    /// arguments are the verb, `--request-fd` and the number.
    pub fn with_executor(&self, executor: &Path, args: &[&str]) -> Command {
        let mut command = self.trireme(args);
        command.env("TRIREME_EXECUTOR", executor);
        command
    }

    /// Standard output of a run that succeeds in silence.
    pub fn succeed(&self, args: &[&str]) -> String {
        succeeded(self.trireme(args).output().unwrap())
    }

    /// The message of a run that fails, without its prefix and line end.
    pub fn fail(&self, args: &[&str]) -> String {
        failed(self.trireme(args).output().unwrap())
    }
}

pub fn succeeded(output: Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

pub fn failed(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    let message = stderr
        .strip_prefix("trireme: ")
        .and_then(|m| m.strip_suffix('\n'));
    let message = message.unwrap_or_else(|| panic!("not a message: {stderr:?}"));
    assert!(!message.contains('\n'), "more than a line: {message}");
    message.to_owned()
}
