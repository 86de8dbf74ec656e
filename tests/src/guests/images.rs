//! The images of the tests, all named `trireme.test/NAME:TAG`.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use trireme_image::{Options, Platform, Program, Reference, build_archive};

use super::oci::{self, Layer};

/// Programs that have an image of their own, since they are large.
const LARGE: [&str; 3] = ["go", "python", "slow"];

/// Writes every image as an archive into `images/` of the folder.
pub fn all(folder: &Path) -> Result<()> {
    let images = folder.join("images");
    let image = |name: &str| images.join(format!("{name}.tar"));
    let named = |name: &str| format!("trireme.test/{name}:latest");
    let config = json!({ "Entrypoint": ["/hello.wasm"], "Env": ["PATH=/bin"], "WorkingDir": "/" });
    for (name, layer) in [("guests", guests(folder)?), ("native", native(folder)?)] {
        oci::write(&image(name), &named(name), &layer, config.clone())?;
        // Not every `ctr run` has a flag for the user.
        let mut config = config.clone();
        config["User"] = json!("1000:1000");
        let file = image(&format!("{name}-sailor"));
        oci::write(
            &file,
            &format!("trireme.test/{name}:sailor"),
            &layer,
            config,
        )?;
    }
    oci::write(
        &image("hostile"),
        &named("hostile"),
        &hostile(folder)?,
        config,
    )?;
    for name in LARGE {
        let bytes = fs::read(folder.join(format!("wasm/{name}.wasm")))?;
        let mut layer = Layer::default();
        layer.program(&format!("{name}.wasm"), bytes);
        let config = json!({ "Entrypoint": [format!("/{name}.wasm")] });
        oci::write(&image(name), &named(name), &layer, config)?;
    }
    let (layer, config) = pause(folder)?;
    oci::write(&image("pause"), &named("pause"), &layer, config)?;
    hello(folder, &images)
}

/// What Kubernetes runs in each pod so that its namespaces stay: its layer and its configuration, as
/// in `build/pause/Dockerfile` there.
pub(super) fn pause(folder: &Path) -> Result<(Layer, Value)> {
    let mut layer = Layer::default();
    let program = fs::read(folder.join("native/pause")).context("read the pause program")?;
    layer.program("pause", program);
    Ok((
        layer,
        json!({ "User": "65535:65535", "Entrypoint": ["/pause"] }),
    ))
}

pub(super) fn busybox() -> Result<Vec<u8>> {
    fs::read("/bin/busybox").context("read /bin/busybox")
}

/// All small guests in the root folder, with the files and folders that they are tried on, and
/// a shell for Linux.
fn guests(folder: &Path) -> Result<Layer> {
    let mut layer = Layer::default();
    for (name, bytes) in programs(&folder.join("wasm"))? {
        let stem = name.split('.').next().unwrap_or_default();
        if !LARGE.contains(&stem) {
            layer.program(&name, bytes);
        }
    }
    shell(&mut layer)?;
    surroundings(&mut layer);
    Ok(layer)
}

/// The same guests under the same names, as programs of Linux, and a shell.
fn native(folder: &Path) -> Result<Layer> {
    let mut layer = Layer::default();
    for (name, bytes) in programs(&folder.join("native"))? {
        if !name.contains(".so") {
            layer.program(&format!("{name}.wasm"), bytes);
        }
    }
    shell(&mut layer)?;
    surroundings(&mut layer);
    Ok(layer)
}

fn shell(layer: &mut Layer) -> Result<()> {
    layer.folder("bin");
    layer.program("bin/busybox", busybox()?);
    for name in ["cat", "ls", "sh", "sleep", "tar", "true"] {
        layer.link(&format!("bin/{name}"), "busybox");
    }
    Ok(())
}

fn surroundings(layer: &mut Layer) {
    layer.file("where.txt", b"in the root folder\n");
    layer.folder("etc").file(
        "etc/passwd",
        b"root:x:0:0::/:/bin/sh\nsailor:x:1000:1000::/work:/bin/sh\n",
    );
    layer.file("etc/group", b"root:x:0:\nsailor:x:1000:\n");
    layer
        .folder("work")
        .file("work/where.txt", b"in the work folder\n");
    layer.folder("mnt").folder("mnt/one").folder("mnt/two");
    layer.folder("links");
    layer.link("links/absolute", "/etc/shadow");
    layer.link("links/relative", "../../../../etc/shadow");
    layer.link("links/inside", "../where.txt");
    layer.link("links/root", "/");
    layer.link("links/loop", "loop");
}

/// Makes whoever looks up a name in this image load a library of the image.
fn hostile(folder: &Path) -> Result<Layer> {
    let mut layer = guests(folder)?;
    let library = fs::read(folder.join("native/libnss_hostile.so.2"))?;
    let lines = [
        "passwd",
        "group",
        "hosts",
        "services",
        "protocols",
        "networks",
    ];
    let switch: String = lines.map(|line| format!("{line}: hostile\n")).concat();
    layer.file("etc/nsswitch.conf", switch.as_bytes());
    for path in [
        "lib",
        "lib/x86_64-linux-gnu",
        "lib64",
        "usr",
        "usr/lib",
        "usr/lib/x86_64-linux-gnu",
    ] {
        layer.folder(path);
        layer.program(&format!("{path}/libnss_hostile.so.2"), library.clone());
    }
    layer.file("etc/ld.so.preload", b"/lib/libnss_hostile.so.2\n");
    Ok(layer)
}

/// One program as users publish it, for each platform that such images claim.
fn hello(folder: &Path, images: &Path) -> Result<()> {
    for file in ["hello", "hello-component"] {
        let wasm = fs::read(folder.join(format!("wasm/{file}.wasm")))?;
        for platform in [
            Platform::WasiWasm,
            Platform::WasiWasm32,
            Platform::LinuxAmd64,
        ] {
            let tag = platform.to_string().replace('/', "-");
            let reference: Reference = format!("trireme.test/{file}:{tag}").parse()?;
            let options = Options {
                platform,
                ..Options::default()
            };
            let archive = File::create(images.join(format!("{file}-{tag}.tar")))?;
            build_archive(
                &Program {
                    name: file,
                    wasm: &wasm,
                },
                &reference,
                &options,
                archive,
            )?;
        }
    }
    Ok(())
}

fn programs(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        found.push((
            entry.file_name().to_string_lossy().into_owned(),
            fs::read(entry.path())?,
        ));
    }
    found.sort();
    Ok(found)
}
