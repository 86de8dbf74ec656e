//! Makes a library to link with in place of libwasmedge.
//!
//! Linking needs to know the library's name, its functions' names and their
//! version, and those are all that this one has. So a machine that builds
//! Trireme needs no WasmEdge, and what is built is the same on each.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// The declarations of functions, one a line: `fn NAME(`.
const DECLARATIONS: &str = "src/ffi.rs";
/// The name under which the dynamic linker looks for the library.
const SONAME: &str = "libwasmedge.so.0";
/// The version of the functions; the library of another generation has none of it.
const VERSION: &str = "WASMEDGE_0.16";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={DECLARATIONS}");
    println!("cargo:rerun-if-env-changed=CC");
    let folder = PathBuf::from(env::var("OUT_DIR")?);
    let (source, script) = (folder.join("wasmedge.c"), folder.join("wasmedge.map"));
    fs::write(&source, functions(&fs::read_to_string(DECLARATIONS)?))?;
    fs::write(
        &script,
        format!("{VERSION} {{ global: WasmEdge_*; local: *; }};\n"),
    )?;
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-nostdlib", "-w"])
        .arg(format!("-Wl,-soname,{SONAME}"))
        .arg(format!("-Wl,--version-script,{}", script.display()))
        .arg("-o")
        .arg(folder.join("libwasmedge.so"))
        .arg(&source)
        .status()
        .map_err(|error| format!("{compiler}: {error}; install a C compiler"))?;
    if !status.success() {
        return Err(format!("{compiler} failed ({status})").into());
    }
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rustc-link-lib=dylib=wasmedge");
    Ok(())
}

/// A function in C for each that is declared.
fn functions(declarations: &str) -> String {
    let names = declarations
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub(crate) fn ")?.split_once('('));
    names.fold(String::new(), |mut text, (name, _)| {
        let _ = writeln!(text, "void {name}(void) {{}}");
        text
    })
}
