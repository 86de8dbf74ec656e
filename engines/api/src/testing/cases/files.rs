//! Directories that a WASI 0.1 guest finds open.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::{Case, cases};
use crate::testing::process::End;
use crate::testing::subject::Subject;

pub(super) const CASES: &[Case] = cases![
    a_file_in_a_directory_is_read,
    a_file_in_a_directory_is_written,
    a_read_only_directory_is_read_and_not_written,
    nothing_outside_a_directory_is_reached,
    the_working_directory_stays_what_it_was,
];

const READ: &str = include_str!("../guests/read-file.wat");
const WRITE: &str = include_str!("../guests/write-file.wat");

/// `inside/in.txt` and `secret.txt` beside it.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(tree.path().join("inside")).expect("a directory");
    fs::write(tree.path().join("inside/in.txt"), "from the host\n").expect("a file");
    fs::write(tree.path().join("secret.txt"), "secret\n").expect("a file");
    tree
}

fn a_file_in_a_directory_is_read(subject: &Subject) {
    let tree = tree();
    let trial = subject
        .guest(READ)
        .directory(&tree.path().join("inside"), "/", true);
    assert_eq!(trial.arg("in.txt").run().output(), "from the host\n");
}

fn a_file_in_a_directory_is_written(subject: &Subject) {
    let tree = tree();
    let inside = tree.path().join("inside");
    subject
        .guest(WRITE)
        .directory(&inside, "/", true)
        .arg("out.txt")
        .run()
        .output();
    let written = fs::read_to_string(inside.join("out.txt")).expect("the guest's file");
    assert_eq!(written, "written by the guest\n");
}

fn a_read_only_directory_is_read_and_not_written(subject: &Subject) {
    let tree = tree();
    let inside = tree.path().join("inside");
    for file in ["out.txt", "in.txt"] {
        let ran = subject
            .guest(WRITE)
            .directory(&inside, "/", false)
            .arg(file)
            .run();
        assert!(
            matches!(ran.end, End::Exit(code) if code > 100),
            "{file}: {ran:?}"
        );
    }
    assert!(!inside.join("out.txt").exists());
    let trial = subject.guest(READ).directory(&inside, "/", false);
    assert_eq!(trial.arg("in.txt").run().output(), "from the host\n");
    let kept = fs::read_to_string(inside.join("in.txt")).expect("the host's file");
    assert_eq!(kept, "from the host\n");
}

fn nothing_outside_a_directory_is_reached(subject: &Subject) {
    let tree = tree();
    let inside = tree.path().join("inside");
    let secret = tree.path().join("secret.txt");
    symlink("../secret.txt", inside.join("relative")).expect("a link");
    symlink(&secret, inside.join("absolute")).expect("a link");
    let absolute = secret.to_str().expect("a path of text");
    for path in [
        "../secret.txt",
        "./../secret.txt",
        absolute,
        "relative",
        "absolute",
    ] {
        let ran = subject
            .guest(READ)
            .directory(&inside, "/", true)
            .arg(path)
            .run();
        assert!(
            matches!(ran.end, End::Exit(code) if code > 100),
            "{path}: {ran:?}"
        );
        assert_eq!(ran.stdout, b"", "{path}");
    }
}

fn the_working_directory_stays_what_it_was(subject: &Subject) {
    let tree = tree();
    let trial = subject
        .guest(READ)
        .directory(&tree.path().join("inside"), "/", true)
        .directory(tree.path(), "/outer", true);
    let ran = trial.arg("in.txt").run();
    assert!(!ran.moved, "the process has another working directory");
    assert_eq!(ran.output(), "from the host\n");
}
