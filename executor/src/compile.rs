//! `trireme-executor compile`: compiles one program for the server and ends.
//!
//! It gives up everything before it looks at the program: it is nobody, sees a
//! root with nothing but an empty `/tmp`, has no network and no capability. All
//! it can do with what a hostile program may turn it into is write to memory of
//! its own. The name
//! that the code is filed under is settled before that: the digest is taken
//! of a private copy of the bytes, and it is that copy that is compiled.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use trireme_container::cgroup;
use trireme_container::init::{harden, isolate_compiler};
use trireme_container::link::{CompileOrder, FromCompiler, Link, ToCompiler};
use trireme_container::process::{LINK_FD, PLAN_FD, SUBJECT_FD};
use trireme_core::memory_file::{self, Pages};
use trireme_core::message;

use crate::{deadline, engines};

/// The largest program that is compiled, in bytes.
pub const MAX_PROGRAM: u64 = 1 << 30;

/// Compiles as the server says.
pub fn main() -> Result<u8> {
    // SAFETY: the server hands these three descriptors over by their numbers;
    // nothing else in this process knows of them.
    let (link, order, program) = unsafe {
        (
            Link::from(OwnedFd::from_raw_fd(LINK_FD)),
            File::from_raw_fd(PLAN_FD),
            File::from_raw_fd(SUBJECT_FD),
        )
    };
    match compile(&link, order, program) {
        Ok(()) => Ok(0),
        Err(error) => {
            // Without a server there is nobody left to tell.
            let _ = link.send(
                &FromCompiler::Failed {
                    message: message::of(error.as_ref()),
                },
                None,
            );
            Ok(crate::FAILED)
        }
    }
}

fn compile(link: &Link, mut order: File, program: File) -> Result<()> {
    harden(SUBJECT_FD)?;
    let mut text = Vec::new();
    order
        .read_to_end(&mut text)
        .context("cannot read the order")?;
    drop(order);
    let CompileOrder {
        engine: choice,
        kind,
        cgroup,
    } = serde_json::from_slice(&text).context("the order is not understood")?;
    cgroup::join(&cgroup)?;
    deadline::report_to_server();
    let adapter = engines::adapter(&choice)?;
    let engine = engines::create_by(adapter, &choice)?;
    isolate_compiler()?;
    let wasm = copy(program)?;
    link.send(
        &FromCompiler::Hashed {
            wasm: digest(&wasm),
        },
        None,
    )?;
    if let Some(lock) = wait_for_lock(link)? {
        // Held until this process ends, whatever ends it.
        std::mem::forget(lock);
        link.send(&FromCompiler::Locked, None)?;
        let (message, _) = link
            .receive::<ToCompiler>()?
            .context("the server is gone")?;
        ensure!(
            message == ToCompiler::Compile,
            "expected Compile of the server, not {message:?}"
        );
    }
    let code = engine.compile(&wasm, kind).map_err(|error| {
        let (handler, config) = (&choice.handler, choice.config.display());
        match adapter.info().kinds.contains(&kind) {
            true => anyhow!("{error}"),
            false => anyhow!("{error} ([handlers.{handler}] engine in {config})"),
        }
    })?;
    drop(wasm);
    let file = sealed(&code)?;
    link.send(&FromCompiler::Compiled, Some(file.as_fd()))?;
    // The lock goes with this process, which the server ends once the code is
    // in the cache.
    let _ = link.receive::<ToCompiler>();
    Ok(())
}

fn copy(program: File) -> Result<Vec<u8>> {
    let mut wasm = Vec::new();
    // The descriptor's position is shared with whoever else has it open.
    let mut program = program;
    program.rewind()?;
    let read = program
        .take(MAX_PROGRAM + 1)
        .read_to_end(&mut wasm)
        .context("cannot read the program")?;
    ensure!(
        read as u64 <= MAX_PROGRAM,
        "the program is larger than {} MiB",
        MAX_PROGRAM >> 20
    );
    Ok(wasm)
}

/// SHA-256 in lower case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Takes the lock of the key if there is a cache to lock.
fn wait_for_lock(link: &Link) -> Result<Option<OwnedFd>> {
    let (message, lock) = link
        .receive::<ToCompiler>()?
        .context("the server is gone")?;
    match (message, lock) {
        (ToCompiler::Lock, Some(lock)) => {
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)
                .context("cannot lock the cache entry")?;
            Ok(Some(lock))
        }
        (ToCompiler::Compile, None) => Ok(None),
        (message, _) => Err(anyhow!(
            "expected Lock or Compile of the server, not {message:?}"
        )),
    }
}

/// The code in a memory file that nobody can change any more.
pub fn sealed(code: &[u8]) -> Result<File> {
    memory_file::sealed("precompiled", code, Pages::Code).context("cannot keep the code in memory")
}
