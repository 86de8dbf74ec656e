//! Precompiled code for programs outside containers.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fs::FlockOperation;
use trireme_core::cache::{Cache, Key, KeyParts, Origin, processor_features};
use trireme_core::config::CacheConfig;
use trireme_core::program::FileKind;
use trireme_core::request::EngineChoice;
use trireme_engine::{Engine, Kind};

use crate::{compile, engines};

/// A program that was read from a file.
pub struct Source {
    /// Its bytes.
    pub wasm: Vec<u8>,
    /// Module or component.
    pub kind: Kind,
    /// SHA-256 of the bytes, in hexadecimal.
    pub digest: String,
}

/// Precompiled code.
pub struct Code {
    /// Open for reading.
    pub file: File,
    /// What it is filed under.
    pub key: Key,
    /// Whether it was in the cache already.
    pub cached: bool,
}

/// Reads a program and checks that it is WebAssembly.
pub fn read(path: &Path) -> Result<Source> {
    let shown = path.display();
    let wasm = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    ensure!(
        wasm.len() as u64 <= compile::MAX_PROGRAM,
        "{shown}: larger than {} MiB",
        compile::MAX_PROGRAM >> 20
    );
    let found = FileKind::recognise(&wasm[..wasm.len().min(512)]);
    let kind = found
        .wasm()
        .ok_or_else(|| anyhow!("{shown}: {found}, not a WebAssembly binary"))?;
    Ok(Source {
        digest: compile::digest(&wasm),
        wasm,
        kind,
    })
}

/// The code of a program from the cache, or compiled and filed there. Two
/// callers that want the same code compile it once.
pub fn code(
    engine: &dyn Engine,
    choice: &EngineChoice,
    source: &Source,
    config: &CacheConfig,
) -> Result<Code> {
    let build = engines::build(choice)?;
    let key = Key::new(KeyParts {
        wasm: &source.digest,
        engine: &choice.engine,
        build: &build,
        settings: &choice.canonical(),
        processor: &processor_features(),
    });
    let cache = Cache::open(&config.dir)?;
    if let Some(file) = cache.find(&key)? {
        return Ok(Code {
            file,
            key,
            cached: true,
        });
    }
    let lock = cache.lock_file(&key)?;
    rustix::fs::flock(lock.as_fd(), FlockOperation::LockExclusive)
        .context("cannot lock the cache entry")?;
    if let Some(file) = cache.find(&key)? {
        return Ok(Code {
            file,
            key,
            cached: true,
        });
    }
    let code = uncached(engine, source)?;
    let origin = Origin {
        wasm: source.digest.clone(),
        engine: choice.engine.clone(),
        build,
    };
    let file = cache.insert(&key, &origin, &code, config.max_size.0)?;
    Ok(Code {
        file,
        key,
        cached: false,
    })
}

/// The code of a program in a memory file.
pub fn uncached(engine: &dyn Engine, source: &Source) -> Result<File> {
    let code = engine
        .compile(&source.wasm, source.kind)
        .map_err(|error| anyhow!("{error}"))?;
    compile::sealed(&code)
}
