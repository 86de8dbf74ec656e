//! Which files are opened. Run as root: ownership is what this is about.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trireme_plugin::host::trust::{TrustError, check};

/// A folder that root alone can change, with `engines/plugin.so` in it.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = dir.path().join("engines/plugin.so");
    fs::create_dir(dir.path().join("engines")).expect("a folder");
    fs::write(&file, "").expect("a file");
    mode(&dir.path().join("engines"), 0o755);
    mode(&file, 0o644);
    (dir, file)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn refused(path: &Path) -> String {
    check(path).expect_err("a refusal").to_string()
}

#[test]
fn a_file_of_root_in_folders_of_root_is_taken_by_its_real_path() {
    let (dir, file) = place();
    let real = file.canonicalize().expect("its path");
    assert_eq!(check(&file).expect("trust"), real);
    symlink("engines", dir.path().join("relative")).expect("a link");
    symlink(&file, dir.path().join("absolute")).expect("a link");
    for link in [
        "relative/plugin.so",
        "absolute",
        "relative/../engines/./plugin.so",
    ] {
        assert_eq!(check(&dir.path().join(link)).expect(link), real);
    }
}

#[test]
fn a_file_or_folder_that_others_may_write_is_refused_by_name() {
    let (dir, file) = place();
    for bits in [0o664, 0o646] {
        mode(&file, bits);
        let said = refused(&file);
        assert!(
            said.contains("chmod go-w") && said.contains("plugin.so"),
            "{said}"
        );
    }
    mode(&file, 0o644);
    let folder = dir.path().join("engines");
    // The sticky bit keeps others from removing, not from adding.
    for bits in [0o775, 0o757, 0o1777] {
        mode(&folder, bits);
        let said = refused(&file);
        assert!(
            said.ends_with(&format!("chmod go-w {}", folder.display())),
            "{said}"
        );
    }
}

#[test]
fn what_another_user_owns_is_refused_be_it_a_link() {
    let (dir, file) = place();
    chown(&file, Some(12), None).expect("another owner; are you root?");
    let said = refused(&file);
    assert!(
        said.contains("owned by user 12") && said.contains("chown root"),
        "{said}"
    );
    chown(&file, Some(0), None).expect("root");
    let folder = dir.path().join("engines");
    chown(&folder, Some(12), None).expect("another owner");
    assert!(refused(&file).contains("owned by user 12"));
    chown(&folder, Some(0), None).expect("root");
    let link = dir.path().join("link");
    symlink(&file, &link).expect("a link");
    std::os::unix::fs::lchown(&link, Some(12), None).expect("another owner");
    let said = refused(&link);
    assert!(
        said.contains("owned by user 12") && said.contains("link"),
        "{said}"
    );
}

#[test]
fn what_is_not_there_or_no_file_is_refused() {
    let (dir, file) = place();
    let said = refused(&dir.path().join("engines/other.so"));
    assert!(
        said.contains("other.so: No such file") && said.contains("install it"),
        "{said}"
    );
    assert!(refused(&dir.path().join("engines")).contains("not a regular file"));
    assert!(refused(&file.join("below")).contains("Not a directory"));
    assert!(matches!(
        check(Path::new("plugin.so")),
        Err(TrustError::Relative { .. })
    ));
    symlink("round", dir.path().join("round")).expect("a link");
    assert!(refused(&dir.path().join("round")).contains("symbolic links"));
}
