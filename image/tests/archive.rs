//! What an archive holds, read back with tar and JSON.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of tests may panic as tests may"
)]

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trireme_image::{
    Built, ExtraFile, Format, ImageError, Options, Platform, Program, build_archive,
};

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn build(name: &str, wasm: &[u8], options: &Options) -> Result<(Built, Vec<u8>), ImageError> {
    let mut archive = Vec::new();
    let reference = "hello".parse().unwrap();
    let built = build_archive(&Program { name, wasm }, &reference, options, &mut archive)?;
    Ok((built, archive))
}

fn error(options: &Options) -> String {
    build("hello.wasm", MODULE, options)
        .unwrap_err()
        .to_string()
}

fn file(guest: &str) -> ExtraFile {
    ExtraFile {
        guest: guest.into(),
        content: guest.into(),
        executable: false,
    }
}

/// Path → (mode, content), folders with a trailing slash; every header must be
/// free of times and owners.
fn untar(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let mode = header.mode().unwrap();
        let folder = header.entry_type().is_dir();
        let mut path = entry
            .path()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        if folder {
            path.push('/');
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(files.insert(path, (mode, content)), None);
    }
    files
}

struct Image {
    index: Value,
    config: Value,
    layer: BTreeMap<String, (u32, Vec<u8>)>,
}

/// Follows the digests from the index down; each must match its blob.
fn read(archive: &[u8]) -> Image {
    let files = untar(archive);
    let blob = |descriptor: &Value| {
        let hex = descriptor["digest"]
            .as_str()
            .unwrap()
            .strip_prefix("sha256:")
            .unwrap();
        let bytes = &files[&format!("blobs/sha256/{hex}")].1;
        let digest: String = Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(digest, hex);
        assert_eq!(descriptor["size"], bytes.len());
        bytes.clone()
    };
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(
        json(&files["oci-layout"].1),
        json!({"imageLayoutVersion": "1.0.0"})
    );
    let index = json(&files["index.json"].1);
    let manifest = json(&blob(&index["manifests"][0]));
    let config = json(&blob(&manifest["config"]));
    let layer = &manifest["layers"][0];
    assert_eq!(config["rootfs"]["diff_ids"], json!([layer["digest"]]));
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    Image {
        index,
        config,
        layer: untar(&blob(layer)),
    }
}

#[test]
fn an_image_names_its_program_and_platform() {
    for (platform, os, architecture) in [
        (Platform::WasiWasm, "wasi", "wasm"),
        (Platform::WasiWasm32, "wasi", "wasm32"),
        (Platform::LinuxAmd64, "linux", "amd64"),
    ] {
        let options = Options {
            platform,
            ..Options::default()
        };
        let (built, archive) = build("hello.wasm", COMPONENT, &options).unwrap();
        let image = read(&archive);
        let manifest = &image.index["manifests"][0];
        assert_eq!(manifest["digest"], built.digest);
        assert_eq!(
            manifest["platform"],
            json!({"os": os, "architecture": architecture})
        );
        assert_eq!(
            manifest["annotations"],
            json!({
                "io.containerd.image.name": "docker.io/library/hello:latest",
                "org.opencontainers.image.ref.name": "latest",
            })
        );
        assert_eq!(image.config["os"], os);
        assert_eq!(image.config["architecture"], architecture);
        assert_eq!(
            image.config["config"],
            json!({"Entrypoint": ["/hello.wasm"]})
        );
        assert_eq!(
            image.layer,
            BTreeMap::from([("hello.wasm".into(), (0o755, COMPONENT.into()))])
        );
    }
}

#[test]
fn options_reach_the_configuration_and_the_layer() {
    let options = Options {
        cmd: vec!["a".into(), "b c".into()],
        env: vec!["K=V=W".into(), "E=".into()],
        working_dir: Some("/data/in".into()),
        files: vec![
            file("/etc/x/y"),
            ExtraFile {
                executable: true,
                ..file("/etc/tool")
            },
            file(&format!("/{}", "long/".repeat(40) + "name")),
        ],
        ..Options::default()
    };
    let (built, archive) = build("greet", MODULE, &options).unwrap();
    assert_eq!(built.entrypoint, "/greet.wasm");
    let image = read(&archive);
    assert_eq!(
        image.config["config"],
        json!({
            "Env": ["K=V=W", "E="],
            "Entrypoint": ["/greet.wasm"],
            "Cmd": ["a", "b c"],
            "WorkingDir": "/data/in",
        })
    );
    let mode = |path: &str| image.layer.get(path).map(|(mode, _)| *mode);
    assert_eq!(mode("greet.wasm"), Some(0o755));
    assert_eq!(mode("etc/"), Some(0o755));
    assert_eq!(mode("etc/tool"), Some(0o755));
    assert_eq!(mode("data/in/"), Some(0o755));
    assert_eq!(image.layer["etc/x/y"], (0o644, b"/etc/x/y".to_vec()));
    assert_eq!(mode(&format!("{}name", "long/".repeat(40))), Some(0o644));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let with = |files: &[&str]| Options {
        files: files.iter().map(|f| file(f)).collect(),
        ..Options::default()
    };
    let first = build("hello.wasm", MODULE, &with(&["/a/b", "/c"])).unwrap();
    assert_eq!(
        first,
        build("hello.wasm", MODULE, &with(&["/c", "/a/b"])).unwrap()
    );
    assert_ne!(
        first.0.digest,
        build("hello.wasm", MODULE, &with(&["/c"]))
            .unwrap()
            .0
            .digest
    );
}

#[test]
fn what_is_not_a_wasm_binary_is_refused() {
    for (bytes, what) in [
        (&b"\x7fELF\x02"[..], "hello.wasm is a Linux executable"),
        (b"(module)", "hello.wasm is WebAssembly text"),
        (
            b"",
            "hello.wasm is neither WebAssembly nor a Linux executable",
        ),
    ] {
        let mut out = Vec::new();
        let program = Program {
            name: "hello.wasm",
            wasm: bytes,
        };
        let built = build_archive(
            &program,
            &"hello".parse().unwrap(),
            &Options::default(),
            &mut out,
        );
        let error = built.unwrap_err().to_string();
        assert!(error.starts_with(what), "{error}");
        assert!(
            error.contains("a WebAssembly module or component"),
            "{error}"
        );
        assert!(out.is_empty());
    }
}

#[test]
fn options_that_break_a_rule_are_refused() {
    let files = |places: &[&str]| {
        error(&Options {
            files: places.iter().map(|p| file(p)).collect(),
            ..Options::default()
        })
    };
    for place in ["", "x", "/a//b", "/a/", "/a/../b", "/.", "/a\0"] {
        assert!(
            files(&[place]).contains("is not a place in the image"),
            "{place}"
        );
    }
    assert!(files(&["/"]).contains("two things at /;"));
    assert!(files(&["/hello.wasm"]).contains("two things at /hello.wasm"));
    assert!(files(&["/a", "/a"]).contains("two things at /a;"));
    assert!(files(&["/a", "/a/b"]).contains("two things at /a;"));
    assert!(files(&["/a/b", "/a"]).contains("two things at /a;"));
    for env in ["K", "=V", ""] {
        let options = Options {
            env: vec![env.into()],
            ..Options::default()
        };
        assert!(error(&options).contains("write NAME=VALUE"), "{env}");
    }
    let options = Options {
        working_dir: Some("data".into()),
        ..Options::default()
    };
    assert!(error(&options).contains("\"data\" is not a place"));
    for name in ["", ".wasm", "..wasm/x", "a#b.wasm"] {
        let built = build(name, MODULE, &Options::default());
        assert!(matches!(built, Err(ImageError::FileName(_))), "{name}");
    }
}

#[test]
fn a_platform_is_read_as_it_is_written() {
    for text in ["wasi/wasm", "wasi/wasm32", "linux/amd64"] {
        assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
    }
    let error = "linux/arm64".parse::<Platform>().unwrap_err().to_string();
    assert_eq!(
        error,
        "unknown platform \"linux/arm64\"; it can be: wasi/wasm, wasi/wasm32, linux/amd64"
    );
}

#[test]
fn an_artifact_is_its_program_and_nothing_more() {
    let options = Options {
        format: Format::OciArtifact,
        env: vec!["LANG=C".into()],
        working_dir: Some("/work".into()),
        ..Options::default()
    };
    let (built, archive) = build("hello", MODULE, &options).unwrap();
    assert_eq!(built.entrypoint, "/hello.wasm");
    let files = untar(&archive);
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        files[&format!("blobs/{digest}")].1.clone()
    };
    let index: Value = serde_json::from_slice(&files["index.json"].1).unwrap();
    let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0]["mediaType"], "application/wasm");
    assert_eq!(
        layers[0]["annotations"],
        json!({ "org.opencontainers.image.title": "hello.wasm" })
    );
    assert_eq!(blob(&layers[0]), MODULE);
    let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
    assert_eq!(
        config["config"],
        json!({ "Env": ["LANG=C"], "Entrypoint": ["/hello.wasm"], "WorkingDir": "/work" })
    );
    assert_eq!(
        config["rootfs"],
        json!({ "type": "layers", "diff_ids": [] })
    );
}

#[test]
fn an_artifact_has_no_further_files() {
    let options = Options {
        format: Format::OciArtifact,
        files: vec![file("/etc/more")],
        ..Options::default()
    };
    let error = error(&options);
    assert!(
        error.starts_with("\"/etc/more\" cannot be in an OCI artifact"),
        "{error}"
    );
    assert!(
        "squashfs"
            .parse::<Format>()
            .unwrap_err()
            .to_string()
            .contains("oci-artifact")
    );
}
