//! `trireme-bare`: a program on wasmtime's own library and nothing around it, the measure of what
//! a container adds while its program runs.
//!
//! `compile WASM CODE` writes precompiled code; `run CODE ROOT WORD…` runs it, with ROOT as `/` and
//! the network of the caller, and ends with its exit code. The engine has the settings that
//! Trireme's defaults are, and runs its guest on one thread as there.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use wasmtime::component::{Component, ResourceTable};
use wasmtime::error::{Context, Result};
use wasmtime::{Config, Engine, Module, OptLevel, Store, Strategy, WasmBacktraceDetails};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView, p2};

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["compile", wasm, code] => compile(Path::new(wasm), Path::new(code)),
        ["run", code, root, ref words @ ..] => run(Path::new(code), Path::new(root), words),
        _ => wasmtime::bail!("trireme-bare compile WASM CODE, or run CODE ROOT WORD…"),
    }
}

fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .native_unwind_info(false);
    Engine::new(&config)
}

fn compile(wasm: &Path, code: &Path) -> Result<ExitCode> {
    let engine = engine()?;
    let bytes = fs::read(wasm).with_context(|| format!("read {}", wasm.display()))?;
    let compiled = match is_component(&bytes) {
        true => engine.precompile_component(&bytes)?,
        false => engine.precompile_module(&bytes)?,
    };
    fs::write(code, compiled).with_context(|| format!("write {}", code.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The layer is behind the version.
fn is_component(wasm: &[u8]) -> bool {
    wasm.get(6..8) == Some(&[1, 0])
}

fn run(code: &Path, root: &Path, words: &[&str]) -> Result<ExitCode> {
    let engine = engine()?;
    let mut wasi = WasiCtx::builder();
    wasi.allow_blocking_current_thread(true)
        .args(words)
        .inherit_stdio()
        .allow_tcp(true)
        .allow_udp(true)
        .inherit_network()
        .preopened_dir(root, "/", FsPerms::ReadWrite)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = match Engine::detect_precompiled_file(code)? {
        Some(wasmtime::Precompiled::Module) => runtime.block_on(module(&engine, code, wasi)),
        Some(wasmtime::Precompiled::Component) => runtime.block_on(component(&engine, code, wasi)),
        None => wasmtime::bail!("{} is no precompiled code", code.display()),
    };
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(status)) => Ok(ExitCode::from(*status as u8)),
            None => Err(error),
        },
    }
}

async fn module(engine: &Engine, code: &Path, mut wasi: WasiCtxBuilder) -> Result<()> {
    // SAFETY: the code was written by this program, for an engine of these settings.
    let module = unsafe { Module::deserialize_file(engine, code) }?;
    let mut linker = wasmtime::Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
    let mut store = Store::new(engine, wasi.build_p1());
    let instance = linker.instantiate_async(&mut store, &module).await?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    start.call_async(&mut store, ()).await
}

struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

async fn component(engine: &Engine, code: &Path, mut wasi: WasiCtxBuilder) -> Result<()> {
    // SAFETY: the code was written by this program, for an engine of these settings.
    let component = unsafe { Component::deserialize_file(engine, code) }?;
    let mut linker = wasmtime::component::Linker::new(engine);
    p2::add_to_linker_async(&mut linker)?;
    let host = Host {
        wasi: wasi.build(),
        table: ResourceTable::new(),
    };
    let mut store = Store::new(engine, host);
    let command = Command::instantiate_async(&mut store, &component, &linker).await?;
    match command.wasi_cli_run().call_run(&mut store).await? {
        Ok(()) => Ok(()),
        Err(()) => Err(I32Exit(1).into()),
    }
}
