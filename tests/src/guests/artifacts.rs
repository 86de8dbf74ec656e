//! Images whose layers are WebAssembly and no root file system, as they are seen in the wild and
//! as nobody should build them; all named `trireme.test/artifact:TAG`. They are in a folder of
//! their own, since hosts import every other image when they come up.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tar::Builder;
use trireme_image::artifact::MODULE_TYPES;
use trireme_image::{Format, Options, Platform, Program, build_archive};

use super::oci::{append, blob, to_bytes};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes every such image as an archive into `artifacts/` of the folder.
pub fn all(folder: &Path) -> Result<()> {
    let out = folder.join("artifacts");
    let wasm = |name: &str| fs::read(folder.join(format!("wasm/{name}.wasm")));
    let (hello, component) = (wasm("hello")?, wasm("hello-component")?);
    built(&out, "built", "hello", &hello)?;
    built(&out, "built-component", "hello-component", &component)?;
    for (tag, media_type, bytes) in [
        ("type-wasm", MODULE_TYPES[0], &hello),
        ("type-content", MODULE_TYPES[1], &hello),
        ("type-component", MODULE_TYPES[2], &component),
    ] {
        one(
            &out,
            tag,
            CONFIG,
            &[Layer::new(media_type, None, bytes)],
            json!({}),
        )?;
    }
    let args = wasm("args")?;
    let tiny = wasm("tiny")?;
    let untitled = |bytes| [Layer::new(MODULE_TYPES[0], None, bytes)];
    one(&out, "args", CONFIG, &untitled(&args), json!({}))?;
    one(&out, "tiny", CONFIG, &untitled(&tiny), json!({}))?;
    one(
        &out,
        "wasm-config",
        WASM_CONFIG,
        &untitled(&hello),
        json!({}),
    )?;
    let exit = wasm("exit")?;
    let many = [
        Layer::new(MODULE_TYPES[0], Some("exit.wasm"), &exit),
        Layer::new(MODULE_TYPES[1], Some("../../etc/hello.wasm"), &hello),
        Layer::new("text/plain", Some("README"), b"all aboard\n"),
    ];
    one(&out, "many", CONFIG, &many, json!({}))?;
    // What somebody says is code for an engine already, under either name.
    let machine_code = fs::read("/bin/true")?;
    let claims = [
        Layer::new(MODULE_TYPES[0], Some("code.wasm"), &machine_code),
        Layer::new(
            "application/vnd.wasm.precompiled+elf",
            Some("code"),
            &machine_code,
        ),
        Layer::new(MODULE_TYPES[0], Some("hello.wasm"), &hello),
    ];
    one(&out, "precompiled", CONFIG, &claims, json!({}))?;
    let entrypoint = json!({ "Entrypoint": ["/hello.wasm"] });
    let lying = [Layer::new(MODULE_TYPES[0], None, &hello).of_size(7)];
    one(&out, "wrong-size", CONFIG, &lying, entrypoint)?;
    several_platforms(&out, &hello, &exit)?;
    for_wasi_alone(&out, &hello)?;
    nested(&out, &hello)?;
    huge(&out, &hello)
}

/// What `trireme image build --format oci-artifact` writes.
fn built(out: &Path, tag: &str, name: &str, wasm: &[u8]) -> Result<()> {
    let reference = format!("trireme.test/artifact:{tag}").parse()?;
    let options = Options {
        format: Format::OciArtifact,
        platform: Platform::WasiWasm,
        ..Options::default()
    };
    let file = File::create(out.join(format!("{tag}.tar")))?;
    build_archive(&Program { name, wasm }, &reference, &options, file)?;
    Ok(())
}

struct Layer<'a> {
    media_type: &'a str,
    title: Option<&'a str>,
    bytes: &'a [u8],
    /// What its descriptor says.
    size: usize,
}

impl<'a> Layer<'a> {
    fn new(media_type: &'a str, title: Option<&'a str>, bytes: &'a [u8]) -> Self {
        Self {
            media_type,
            title,
            bytes,
            size: bytes.len(),
        }
    }

    fn of_size(self, size: usize) -> Self {
        Self { size, ..self }
    }
}

/// An image of one manifest for `wasi/wasm`.
fn one(out: &Path, tag: &str, config: &str, layers: &[Layer<'_>], run: Value) -> Result<()> {
    let mut tar = Builder::new(File::create(out.join(format!("{tag}.tar")))?);
    let manifest = manifest(&mut tar, ("wasi", "wasm"), config, layers, run)?;
    finish(tar, manifest, tag)
}

/// An index of artifacts for several platforms, and what builders file beside them.
fn several_platforms(out: &Path, hello: &[u8], exit: &[u8]) -> Result<()> {
    let mut tar = Builder::new(File::create(out.join("index.tar"))?);
    let mut manifests = Vec::new();
    for (platform, wasm) in [
        (("linux", "arm64"), exit),
        (("linux", "amd64"), hello),
        (("wasi", "wasm"), hello),
    ] {
        let layer = [Layer::new(MODULE_TYPES[0], None, wasm)];
        let run = json!({ "Entrypoint": ["/hello.wasm"] });
        manifests.push(manifest(&mut tar, platform, CONFIG, &layer, run)?);
    }
    let unknown = ("unknown", "unknown");
    manifests.push(manifest(&mut tar, unknown, CONFIG, &[], json!({}))?);
    let index = index(&mut tar, &manifests)?;
    finish(tar, index, "index")
}

/// An index without an image for the host's own platform.
fn for_wasi_alone(out: &Path, hello: &[u8]) -> Result<()> {
    let mut tar = Builder::new(File::create(out.join("index-wasi.tar"))?);
    let layer = [Layer::new(MODULE_TYPES[0], None, hello)];
    let manifest = manifest(&mut tar, ("wasi", "wasm"), CONFIG, &layer, json!({}))?;
    let index = index(&mut tar, &[manifest])?;
    finish(tar, index, "index-wasi")
}

/// An image behind more indexes than anybody needs.
fn nested(out: &Path, hello: &[u8]) -> Result<()> {
    const DEPTH: usize = 40;
    let mut tar = Builder::new(File::create(out.join("nested.tar"))?);
    let layer = [Layer::new(MODULE_TYPES[0], None, hello)];
    let platform = ("linux", "amd64");
    let mut target = manifest(&mut tar, platform, CONFIG, &layer, json!({}))?;
    for _ in 0..DEPTH {
        target = index(&mut tar, &[target])?;
    }
    finish(tar, target, "nested")
}

/// A manifest that is larger than any registry takes.
fn huge(out: &Path, hello: &[u8]) -> Result<()> {
    const SIZE: usize = 5 << 20;
    let title = "x".repeat(SIZE);
    let layer = [Layer::new(MODULE_TYPES[0], Some(&title), hello)];
    one(out, "huge", CONFIG, &layer, json!({}))
}

fn index(tar: &mut Builder<File>, manifests: &[Value]) -> Result<Value> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    blob(tar, INDEX, &to_bytes(&index))
}

fn manifest(
    tar: &mut Builder<File>,
    (os, architecture): (&str, &str),
    config_type: &str,
    layers: &[Layer<'_>],
    run: Value,
) -> Result<Value> {
    let config = json!({
        "os": os,
        "architecture": architecture,
        "config": run,
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let config = blob(tar, config_type, &to_bytes(&config))?;
    let mut descriptors = Vec::new();
    for layer in layers {
        let mut descriptor = blob(tar, layer.media_type, layer.bytes)?;
        descriptor["size"] = json!(layer.size);
        if let Some(title) = layer.title {
            descriptor["annotations"] = json!({ "org.opencontainers.image.title": title });
        }
        descriptors.push(descriptor);
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": descriptors,
    });
    let mut manifest = blob(tar, MANIFEST, &to_bytes(&manifest))?;
    manifest["platform"] = json!({ "os": os, "architecture": architecture });
    Ok(manifest)
}

fn finish(mut tar: Builder<File>, mut target: Value, tag: &str) -> Result<()> {
    let name = format!("trireme.test/artifact:{tag}");
    target["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [target] });
    append(&mut tar, "index.json", &to_bytes(&index))?;
    append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(tar.finish()?)
}
