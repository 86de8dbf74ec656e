//! `trireme-executor precompile`: fills the cache ahead of time.

use anyhow::{Context, Result};
use trireme_core::request::{PrecompileReport, PrecompileRequest};

use crate::{cached, engines};

/// Compiles a program into the cache and prints what was done as JSON.
pub fn main(request: PrecompileRequest) -> Result<u8> {
    let PrecompileRequest {
        engine: choice,
        file,
        cache,
    } = request;
    let engine = engines::create(&choice)?;
    let source = cached::read(&file)?;
    let code = cached::code(&*engine, &choice, &source, &cache)
        .with_context(|| format!("{}: {}", choice.engine, file.display()))?;
    let report = PrecompileReport {
        wasm: source.digest,
        key: code.key.to_string(),
        size: code.file.metadata()?.len(),
        cached: code.cached,
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(0)
}
