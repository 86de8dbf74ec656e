//! The tree alone, asked for what `wasmer-wasix` might be brought to ask.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use virtual_fs::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// `inside/in.txt`, `inside/sub/` and `secret.txt` beside it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("inside/sub")).unwrap();
    fs::write(folder.path().join("inside/in.txt"), "in").unwrap();
    fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    folder
}

fn directory(path: &Path, name: &str, rights: Rights) -> Directory {
    Directory {
        dir: File::open(path).unwrap(),
        name: name.into(),
        rights,
    }
}

fn tree(folder: &TempDir, rights: Rights) -> Tree {
    Tree::new(
        "/",
        vec![directory(&folder.path().join("inside"), "/", rights)],
    )
}

fn names(tree: &Tree, path: &str) -> Vec<String> {
    let listing = tree.read_dir(Path::new(path)).unwrap();
    let mut names: Vec<_> = listing
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn open(tree: &Tree, path: &str, write: bool) -> Result<Box<dyn VirtualFile + Send + Sync>> {
    let mut options = tree.new_open_options();
    options.read(true).write(write).open(path)
}

/// Drives a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn no_path_leads_out_of_a_directory() {
    let folder = folder();
    let inside = folder.path().join("inside");
    symlink("../secret.txt", inside.join("relative")).unwrap();
    symlink(folder.path().join("secret.txt"), inside.join("absolute")).unwrap();
    symlink("..", inside.join("up")).unwrap();
    symlink("/proc/self/root", inside.join("magic")).unwrap();
    let tree = tree(&folder, Rights::ReadWrite);
    for path in [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/relative",
        "/absolute",
        "/up/secret.txt",
        "/magic/etc/passwd",
    ] {
        assert!(open(&tree, path, false).is_err(), "{path} opens");
        assert!(tree.metadata(Path::new(path)).is_err(), "{path} is seen");
        let new = Path::new(path).with_file_name("new");
        if path.contains("..") || path.contains("up") {
            assert!(tree.create_dir(&new).is_err(), "{}", new.display());
            let moved = tree.rename(Path::new("/in.txt"), &new);
            assert!(now(moved).is_err(), "{}", new.display());
            assert!(tree.hard_link(Path::new("/in.txt"), &new).is_err());
            assert!(tree.remove_file(Path::new(path)).is_err(), "{path} goes");
        }
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("secret.txt")).unwrap(),
        "secret"
    );
    assert!(!folder.path().join("new").exists());
}

#[test]
fn nothing_of_a_read_only_directory_changes() {
    let folder = folder();
    let tree = tree(&folder, Rights::ReadOnly);
    let (file, new) = (Path::new("/in.txt"), Path::new("/new"));
    assert!(open(&tree, "/in.txt", false).is_ok());
    assert!(open(&tree, "/in.txt", true).is_err());
    let mut options = tree.new_open_options();
    assert!(options.read(true).truncate(true).open(file).is_err());
    let mut options = tree.new_open_options();
    assert!(options.write(true).create(true).open(new).is_err());
    for refused in [
        tree.create_dir(new),
        tree.create_symlink(file, new),
        tree.hard_link(file, new),
        now(tree.rename(file, new)),
        tree.remove_file(file),
        tree.remove_dir(Path::new("/sub")),
    ] {
        assert_eq!(refused, Err(FsError::PermissionDenied));
    }
    assert_eq!(names(&tree, "/"), ["in.txt", "sub"]);
}

#[test]
fn a_file_is_made_written_read_moved_and_removed() {
    let folder = folder();
    let tree = tree(&folder, Rights::ReadWrite);
    let mut options = tree.new_open_options();
    options.read(true).write(true).create_new(true);
    let mut file = options.open("/sub/new").unwrap();
    now(file.write_all(b"text")).unwrap();
    assert_eq!(file.size(), 4);
    assert!(
        options.open("/sub/new").is_err(),
        "it is not made a second time"
    );
    now(tree.rename(Path::new("/sub/new"), Path::new("/moved"))).unwrap();
    let mut text = String::new();
    now(open(&tree, "/moved", false)
        .unwrap()
        .read_to_string(&mut text))
    .unwrap();
    assert_eq!(text, "text");
    fs::write(folder.path().join("inside/sub/new"), "another").unwrap();
    assert!(
        file.unlink().is_err(),
        "it removes the one that took its name"
    );
    tree.remove_file(Path::new("/moved")).unwrap();
    tree.remove_file(Path::new("/sub/new")).unwrap();
    tree.remove_dir(Path::new("/sub")).unwrap();
    assert_eq!(names(&tree, "/"), ["in.txt"]);
}

#[test]
fn the_innermost_directory_holds_a_path_and_the_way_to_it_is_seen() {
    let folder = folder();
    let inside = folder.path().join("inside");
    let tree = Tree::new(
        "/work",
        vec![
            directory(&inside, "/a/b", Rights::ReadWrite),
            directory(folder.path(), "/a/b/sub", Rights::ReadOnly),
            directory(&inside, ".", Rights::ReadWrite),
        ],
    );
    assert_eq!(names(&tree, "/"), ["a", "work"]);
    assert_eq!(names(&tree, "/a"), ["b"]);
    assert_eq!(names(&tree, "/a/b/sub"), ["inside", "secret.txt"]);
    assert_eq!(names(&tree, "/work"), ["in.txt", "sub"]);
    assert!(open(&tree, "/a/b/in.txt", true).is_ok());
    assert!(open(&tree, "/a/b/sub/secret.txt", true).is_err());
    assert!(tree.metadata(Path::new("/a")).unwrap().is_dir());
    assert!(tree.create_dir(Path::new("/a/new")).is_err());
    assert_eq!(
        tree.metadata(Path::new("/elsewhere")),
        Err(FsError::EntryNotFound)
    );
}

#[test]
fn a_link_is_told_from_what_it_leads_to() {
    let folder = folder();
    let tree = tree(&folder, Rights::ReadWrite);
    let link = Path::new("/link");
    tree.create_symlink(Path::new("in.txt"), link).unwrap();
    assert_eq!(tree.readlink(link).unwrap(), Path::new("in.txt"));
    assert!(
        tree.symlink_metadata(link)
            .unwrap()
            .file_type()
            .is_symlink()
    );
    assert_eq!(tree.metadata(link).unwrap().len(), 2);
}
