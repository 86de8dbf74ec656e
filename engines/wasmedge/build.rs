//! Makes a library to link with in place of libwasmedge.
//!
//! Linking needs to know the library's name, its functions' names and their
//! version, and those are all that this one has. So a machine that builds
//! Trireme needs no WasmEdge, and what is built is the same on each.
//!
//! Where there is WasmEdge, `tests/wasmedge` has a C compiler hold the same
//! declarations, written as C beside that, against WasmEdge's header.

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
    let declarations = fs::read_to_string(DECLARATIONS)?;
    fs::write(&source, functions(&declarations))?;
    fs::write(folder.join("prototypes.c"), prototypes(&declarations)?)?;
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

/// What is relied on beside the functions.
const LAYOUT: &str = "\
#include <wasmedge/wasmedge.h>
_Static_assert(sizeof(WasmEdge_String) == 16 && sizeof(WasmEdge_Bytes) == 16, \"\");
_Static_assert(sizeof(WasmEdge_Result) == 4 && sizeof(WasmEdge_ValType) == 8, \"\");
_Static_assert(sizeof(WasmEdge_Value) == 32 && sizeof(WasmEdge_LogMessage) == 56, \"\");
_Static_assert(WasmEdge_Proposal_MultiValue == 3, \"\");
_Static_assert(WasmEdge_Proposal_BulkMemoryOperations == 4, \"\");
_Static_assert(WasmEdge_Proposal_ReferenceTypes == 5, \"\");
_Static_assert(WasmEdge_Proposal_SIMD == 6, \"\");
_Static_assert(WasmEdge_Proposal_TailCall == 7, \"\");
_Static_assert(WasmEdge_Proposal_ExtendedConst == 8, \"\");
_Static_assert(WasmEdge_Proposal_FunctionReferences == 9, \"\");
_Static_assert(WasmEdge_Proposal_GC == 10, \"\");
_Static_assert(WasmEdge_Proposal_MultiMemories == 11, \"\");
_Static_assert(WasmEdge_Proposal_RelaxSIMD == 12, \"\");
_Static_assert(WasmEdge_Proposal_ExceptionHandling == 14, \"\");
_Static_assert(WasmEdge_Proposal_Memory64 == 15, \"\");
_Static_assert(WasmEdge_Proposal_Threads == 16, \"\");
_Static_assert(WasmEdge_LogLevel_Error == 4, \"\");
_Static_assert(WasmEdge_RunMode_Interpreter == 0 && WasmEdge_RunMode_AOT == 2, \"\");
_Static_assert(WasmEdge_CompilerOutputFormat_Wasm == 1, \"\");
_Static_assert(WasmEdge_CompilerOptimizationLevel_O0 == 0, \"\");
_Static_assert(WasmEdge_CompilerOptimizationLevel_O3 == 3, \"\");
_Static_assert(WasmEdge_CompilerOptimizationLevel_Os == 4, \"\");
";

/// What a type is called in C.
const TYPES: &[(&str, &str)] = &[
    ("bool", "bool"),
    ("c_char", "char"),
    ("c_void", "void"),
    ("i32", "int32_t"),
    ("u8", "uint8_t"),
    ("u32", "uint32_t"),
    ("u64", "uint64_t"),
    ("Bytes", "WasmEdge_Bytes"),
    ("HostFunction", "WasmEdge_HostFunc_t"),
    ("LogCallback", "WasmEdge_LogCallback_t"),
    ("LogLevel", "WasmEdge_LogLevel"),
    ("Optimization", "enum WasmEdge_CompilerOptimizationLevel"),
    ("Outcome", "WasmEdge_Result"),
    ("OutputFormat", "enum WasmEdge_CompilerOutputFormat"),
    ("Proposal", "enum WasmEdge_Proposal"),
    ("RunMode", "enum WasmEdge_RunMode"),
    ("Text", "WasmEdge_String"),
    ("ValType", "WasmEdge_ValType"),
    ("Value", "WasmEdge_Value"),
    ("AstModule", "WasmEdge_ASTModuleContext"),
    ("CallingFrame", "WasmEdge_CallingFrameContext"),
    ("Compiler", "WasmEdge_CompilerContext"),
    ("Configure", "WasmEdge_ConfigureContext"),
    ("Executor", "WasmEdge_ExecutorContext"),
    ("Function", "WasmEdge_FunctionInstanceContext"),
    ("FunctionType", "WasmEdge_FunctionTypeContext"),
    ("Loader", "WasmEdge_LoaderContext"),
    ("ModuleInstance", "WasmEdge_ModuleInstanceContext"),
    ("Statistics", "WasmEdge_StatisticsContext"),
    ("Store", "WasmEdge_StoreContext"),
    ("Validator", "WasmEdge_ValidatorContext"),
];

/// The same declarations in C, behind WasmEdge's own: where one of them is
/// another, they conflict.
fn prototypes(declarations: &str) -> Result<String, String> {
    let mut text = LAYOUT.to_owned();
    let whole = declarations
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for declaration in whole.split("pub(crate) fn WasmEdge_").skip(1) {
        let (declaration, _) = declaration.split_once(';').unwrap_or((declaration, ""));
        let (name, rest) = declaration
            .split_once('(')
            .ok_or_else(|| format!("{DECLARATIONS}: no parameters: {declaration}"))?;
        let (parameters, result) = rest
            .rsplit_once(')')
            .ok_or_else(|| format!("{DECLARATIONS}: no end of parameters: {declaration}"))?;
        let result = match result.trim().strip_prefix("->") {
            Some(result) => in_c(result)?,
            None => "void".into(),
        };
        let parameters = parameters
            .split(',')
            .filter_map(|parameter| Some(in_c(parameter.split_once(':')?.1)))
            .collect::<Result<Vec<_>, _>>()?;
        let parameters = match parameters.is_empty() {
            true => "void".into(),
            false => parameters.join(", "),
        };
        let _ = writeln!(text, "extern {result} WasmEdge_{name}({parameters});");
    }
    Ok(text)
}

/// A type in C.
fn in_c(ty: &str) -> Result<String, String> {
    let ty = ty.trim();
    if let Some(target) = ty.strip_prefix("*mut ") {
        return Ok(format!("{} *", in_c(target)?));
    }
    if let Some(target) = ty.strip_prefix("*const ") {
        return Ok(format!("{} const *", in_c(target)?));
    }
    let known = TYPES.iter().find(|(rust, _)| *rust == ty);
    known
        .map(|(_, c)| (*c).to_owned())
        .ok_or_else(|| format!("build.rs: what is {ty} of {DECLARATIONS} in C?"))
}
