//! `trireme-shim`: the server behind `containerd-shim-<handler>-v1`, the one who
//! cleans up after a server that is gone, the one who fetches programs for it
//! that are layers of their images, the helpers that start Linux programs and
//! make their tree beside a guest, the first process of a pid namespace that a
//! pod shares, and what holds a scope of systemd until its container has a process.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use trireme_container::{cgroup, native, pod};
use trireme_core::message;
use trireme_shim::{cleanup, fetch, server};

fn main() -> ExitCode {
    // Half-done work is worse than none: containerd cleans up after a server
    // that is gone, and cannot after one that hangs.
    std::panic::set_hook(Box::new(|info| {
        eprintln!("trireme-shim: internal error: {info}");
        std::process::abort();
    }));
    let mut args = std::env::args().skip(1);
    let result = match (args.next().as_deref(), args.next()) {
        (Some("server"), None) => server::main(),
        (Some("fetch"), None) => fetch::main(),
        (Some("native"), None) => native::create::main().context("the server is gone"),
        (Some("tree"), None) => native::tree::main().context("the server is gone"),
        (Some("exec"), None) => native::exec::main().context("cannot execute a program"),
        (Some("pause"), None) => pod::pause().context("cannot hold a pid namespace"),
        (Some("hold"), None) => cgroup::hold().context("cannot hold a scope"),
        (Some("cleanup"), Some(bundle)) => cleanup::main(Path::new(&bundle)),
        (Some("--version" | "-v"), None) => {
            println!("trireme-shim {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => Err(anyhow::anyhow!(
            "this program is run by containerd-shim-<handler>-v1"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trireme: {}", message::of(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
