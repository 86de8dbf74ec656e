//! `trireme-executor`: the one program that holds WebAssembly engines.
//!
//! | verb | run by | does |
//! |---|---|---|
//! | `init` | the server | becomes a container's first process |
//! | `exec` | the server | runs another guest beside a container's first process |
//! | `zygote` | the server | becomes either of them many times, by copies of itself |
//! | `compile` | the server | compiles one program without privileges, and ends |
//! | `run` | `trireme run` | runs a program outside any container |
//! | `precompile` | `trireme compile` | fills the cache ahead of time |
//! | `probe` | `trireme engines` | says which engines there are |
//! | `probe-plugin` | `probe` | looks at one plugin, which may crash |
//!
//! A bug in an engine or a hostile module meets the processes of this program
//! and no other.

mod cached;
mod compile;
mod deadline;
mod engines;
mod exec;
mod guest;
mod init;
mod plugin;
mod precompile;
mod probe;
mod request;
mod run;
mod title;
mod zygote;

use std::process::ExitCode;

use anyhow::{Result, bail};

use self::init::EngineSource;

/// The exit status for a failure of Trireme's own, as `docker run` has it.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    // A panic must not unwind through an engine's frames, nor look like an
    // ordinary exit.
    std::panic::set_hook(Box::new(|info| {
        eprintln!("trireme-executor: internal error: {info}");
        std::process::abort();
    }));
    match dispatch() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!(
                "trireme-executor: {}",
                trireme_core::message::of(error.as_ref())
            );
            ExitCode::from(FAILED)
        }
    }
}

fn dispatch() -> Result<u8> {
    let mut args = std::env::args().skip(1);
    let verb = args.next();
    guest::name_process("trireme-executor");
    match verb.as_deref() {
        Some("init") => init::main(init::prepare, EngineSource::New),
        Some("exec") => init::main(exec::prepare, EngineSource::New),
        Some("zygote") => zygote::main(),
        Some("compile") => compile::main(),
        Some("run") => run::main(request::read(args)?),
        Some("precompile") => precompile::main(request::read(args)?),
        Some("probe") => probe::main(request::read(args)?),
        Some(probe::CHILD) => probe::child(request::read(args)?),
        Some("--version" | "-v") => {
            println!("trireme-executor {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
        _ => bail!("this program is run by the shim and by `trireme`; see `trireme help`"),
    }
}
