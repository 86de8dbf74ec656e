//! `trireme image build`.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of tests may panic as tests may"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{MODULE, Place};

fn members(place: &Place, archive: &str) -> Vec<String> {
    let output = Command::new("tar")
        .arg("-tf")
        .arg(place.path(archive))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn an_image_is_written_and_named() {
    let place = Place::new();
    place.write("hello.wasm", MODULE);
    place.script("tool.sh", "exit 0");
    let said = place.succeed(&[
        "image",
        "build",
        "hello.wasm",
        "-t",
        "hello",
        "-o",
        "hello.tar",
        "--platform",
        "wasi/wasm32",
        "--env",
        "K=V",
        "--cmd",
        "--flag",
        "--workdir",
        "/data",
        "--file",
        "tool.sh:/opt/tool.sh",
    ]);
    let (head, tail) = said.split_once(" sha256:").unwrap();
    assert_eq!(head, "docker.io/library/hello:latest wasi/wasm32");
    assert!(tail.ends_with(" runs /hello.wasm\n"), "{said}");
    let members = members(&place, "hello.tar");
    assert!(members.contains(&"index.json".into()), "{members:?}");
    let digest = tail.split(' ').next().unwrap();
    assert!(
        members.contains(&format!("blobs/sha256/{digest}")),
        "{members:?}"
    );
    let mode = fs::metadata(place.path("hello.tar"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o400, 0o400);
    assert_eq!(mode & 0o111, 0);
}

#[test]
fn standard_output_gets_the_same_bytes_as_a_file() {
    let place = Place::new();
    place.write("hello.wasm", MODULE);
    place.succeed(&["image", "build", "hello.wasm", "-t", "hello", "-o", "a.tar"]);
    let output = place
        .trireme(&["image", "build", "hello.wasm", "-t", "hello", "-o", "-"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == fs::read(place.path("a.tar")).unwrap());
}

#[test]
fn a_mistake_is_explained_and_leaves_no_archive() {
    let place = Place::new();
    place.write("hello.wasm", MODULE);
    place.write("hello.wat", "(module)");
    let build = |program, more: &[&str]| {
        let mut args = vec!["image", "build", program, "-t", "hello", "-o", "x.tar"];
        args.extend(more);
        place.fail(&args)
    };
    assert!(build("hello.wat", &[]).starts_with("hello.wat is WebAssembly text;"));
    assert!(build("none.wasm", &[]).starts_with("cannot read none.wasm: No such file"));
    assert!(build("hello.wasm", &["--file", "none:/x"]).starts_with("cannot read none: "));
    let clash = build("hello.wasm", &["--file", "hello.wat:/hello.wasm"]);
    assert!(
        clash.starts_with("the image would hold two things at /hello.wasm"),
        "{clash}"
    );
    let fail = |args: &[&str]| {
        let output = place.trireme(args).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        String::from_utf8(output.stderr).unwrap()
    };
    let tag = fail(&["image", "build", "hello.wasm", "-t", "Hello", "-o", "x.tar"]);
    assert!(
        tag.contains("\"Hello\" is not a name for an image: upper case"),
        "{tag}"
    );
    let platform = [
        "image",
        "build",
        "hello.wasm",
        "-t",
        "a",
        "-o",
        "x.tar",
        "--platform",
        "wasi",
    ];
    assert!(fail(&platform).contains("unknown platform \"wasi\"; it can be: wasi/wasm,"));
    let mut left: Vec<_> = fs::read_dir(place.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["hello.wasm", "hello.wat"]);
    let missing = place.fail(&["image", "build", "hello.wasm", "-t", "a", "-o", "no/x.tar"]);
    assert!(missing.starts_with("cannot write no/x.tar: "), "{missing}");
}
