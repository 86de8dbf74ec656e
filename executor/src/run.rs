//! `trireme-executor run`: a program in this process, outside any container.

use std::fs::File;

use anyhow::{Context, Result, anyhow};
use trireme_container::init::signals;
use trireme_core::message;
use trireme_core::request::{RunRequest, SharedDirectory};
use trireme_engine::{Directory, Guest, Rights, World};

use crate::{cached, engines, guest};

/// Runs the program; its exit status is this process's.
pub fn main(request: RunRequest) -> Result<u8> {
    let RunRequest {
        engine: choice,
        file,
        invoke,
        args,
        env,
        directories,
        cache,
    } = request;
    let engine = engines::create(&choice)?;
    let source = cached::read(&file)?;
    let named = || format!("{}: {}", choice.engine, file.display());
    engine
        .accepts(&source.wasm, source.kind)
        .map_err(|error| anyhow!("{}: {error}", named()))?;
    let filed = cache
        .as_ref()
        .map(|config| cached::code(&*engine, &choice, &source, config));
    let code = match filed {
        Some(Ok(code)) => code.file,
        Some(Err(error)) if error.is::<trireme_core::cache::CacheError>() => {
            eprintln!("trireme: running uncached: {}", message::of(error.as_ref()));
            cached::uncached(&*engine, &source).with_context(named)?
        }
        Some(Err(error)) => return Err(error).with_context(named),
        None => cached::uncached(&*engine, &source).with_context(named)?,
    };
    // SAFETY: the code was made by this engine with these settings, in this
    // process or by the same user in a cache that nobody else can write.
    let program = unsafe { engine.load(code, source.kind, invoke.as_deref()) }
        .map_err(|error| anyhow!("{}: {error}", named()))?;
    let guest = Guest {
        world: World::Command,
        args,
        env,
        cwd: "/".to_owned(),
        directories: directories.iter().map(open).collect::<Result<_>>()?,
        network: true,
        parallelism: guest::parallelism(),
    };
    signals::install().context("cannot install signal handlers")?;
    Ok(guest::run(program, guest, &choice))
}

fn open(shared: &SharedDirectory) -> Result<Directory> {
    let open = || -> std::io::Result<File> {
        let dir = File::open(&shared.host)?;
        if dir.metadata()?.is_dir() {
            Ok(dir)
        } else {
            Err(std::io::ErrorKind::NotADirectory.into())
        }
    };
    Ok(Directory {
        dir: open().with_context(|| format!("--dir {}", shared.host.display()))?,
        name: shared.guest.clone(),
        rights: if shared.read_only {
            Rights::ReadOnly
        } else {
            Rights::ReadWrite
        },
    })
}
