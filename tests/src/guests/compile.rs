//! From sources to programs: C and WebAssembly text, Go, and a component out of a C program.
//!
//! Every C guest is built twice, as wasm and as a static Linux program, so that a test can be
//! tried against runc with the same arguments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::host::packages;

const PACKAGES: [&str; 6] = [
    "clang",
    "gcc",
    "libc6-dev",
    "libclang-rt-14-dev-wasm32",
    "lld",
    "wasi-libc",
];
/// What every C program is built with.
pub(super) const C_FLAGS: [&str; 5] = ["-O2", "-Wall", "-Wextra", "-Werror", "-g0"];

/// Builds every source into `wasm/` and `native/` of the folder.
pub fn all(sources: &Path, folder: &Path) -> Result<()> {
    packages::ensure_debian(&PACKAGES)?;
    let (wasm, native) = (folder.join("wasm"), folder.join("native"));
    for (name, source) in with_extension(&sources.join("linux"), "c")? {
        linux(&source, &native.join(name))?;
    }
    for (name, source) in with_extension(&sources.join("c"), "c")? {
        let output = wasm.join(format!("{name}.wasm"));
        run(Command::new("clang")
            // The names of functions stay: messages about traps tell them.
            .args(["--target=wasm32-wasi", "-Wl,--strip-debug"])
            .args(C_FLAGS)
            .args([&source, Path::new("-o"), &output]))?;
        linux(&source, &native.join(name))?;
    }
    for (name, source) in with_extension(&sources.join("wat"), "wat")? {
        let bytes = wat::parse_file(&source)?;
        fs::write(wasm.join(format!("{name}.wasm")), bytes)?;
        fs::copy(&source, wasm.join(format!("{name}.wat")))?;
    }
    run(Command::new("go")
        .current_dir(sources.join("go"))
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(wasm.join("go.wasm"))
        .arg("."))?;
    library(
        &sources.join("nss/libnss_hostile.c"),
        &native.join("libnss_hostile.so.2"),
    )?;
    let hello = fs::read(wasm.join("hello.wasm"))?;
    component(&hello, &wasm.join("hello-component.wasm"))?;
    talk(&sources.join("talk"), folder)?;
    pause(&native.join("pause"))?;
    damaged(&wasm)
}

/// A static program of Linux.
fn linux(source: &Path, output: &Path) -> Result<()> {
    run(Command::new("gcc")
        .args(["-static", "-s"])
        .args(C_FLAGS)
        .args([source, Path::new("-o"), output]))
}

fn with_extension(folder: &Path, extension: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|has| has == extension)
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        {
            found.push((stem.to_owned(), path.clone()));
        }
    }
    Ok(found)
}

/// Runs a command to its end, and says what it wrote where it fails.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn library(source: &Path, output: &Path) -> Result<()> {
    run(Command::new("gcc")
        .args(["-shared", "-fPIC", "-nostdlib"])
        .args(C_FLAGS)
        .args([source, Path::new("-o"), output]))
}

/// A component that does what a module does.
fn component(module: &[u8], output: &Path) -> Result<()> {
    let bytes = ComponentEncoder::default()
        .module(module)?
        .adapter(
            WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
            WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        )?
        .validate(true)
        .encode()
        .with_context(|| format!("make {}", output.display()))?;
    fs::write(output, bytes).context("write the component")
}

/// A program with sockets, which a component has through the interfaces in its WIT.
fn talk(sources: &Path, folder: &Path) -> Result<()> {
    let program = sources.join("talk.c");
    let module = folder.join("talk-module.wasm");
    run(Command::new("clang")
        .args(["--target=wasm32-wasi", "-Wl,--strip-debug"])
        .args(C_FLAGS)
        .args([&program, &sources.join("wasi.c"), Path::new("-o"), &module]))?;
    let mut bytes = fs::read(&module)?;
    fs::remove_file(&module)?;
    let mut wit = Resolve::default();
    let package = wit.push_path(sources.join("talk.wit"))?.0;
    let world = wit.select_world(&[package], Some("talk"))?;
    embed_component_metadata(&mut bytes, &wit, world, StringEncoding::UTF8, false)?;
    component(&bytes, &folder.join("wasm/talk.wasm"))?;
    run(Command::new("gcc")
        .args(["-static", "-s"])
        .args(C_FLAGS)
        .args([&program, &sources.join("posix.c"), Path::new("-o")])
        .arg(folder.join("native/talk")))
}

/// The pause program of the Kubernetes that the tests run, with the flags of its own Makefile.
fn pause(output: &Path) -> Result<()> {
    let module = packages::KUBERNETES.sources()?;
    run(Command::new("gcc")
        .args(["-Os", "-Wall", "-Werror", "-static", "-s"])
        .args([
            &module.join("build/pause/linux/pause.c"),
            Path::new("-o"),
            output,
        ]))
}

/// Files that are taken for wasm by their name or their first bytes, and are none.
fn damaged(wasm: &Path) -> Result<()> {
    let whole = fs::read(wasm.join("hello.wasm"))?;
    fs::write(wasm.join("truncated.wasm"), &whole[..whole.len() / 2])?;
    fs::write(
        wasm.join("bad-magic.wasm"),
        b"\0asn\x01\0\0\0 and no module at all\n",
    )?;
    fs::write(wasm.join("empty.wasm"), b"")?;
    Ok(())
}
