//! `start`: finds the server that a task belongs to, or starts it, and prints
//! its address.
//!
//! This is run for every task, so it reads the configuration once, takes one
//! lock, makes one connection or one process, and ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::io::FdFlags;
use sha2::{Digest, Sha256};
use trireme_core::config::{Config, RuntimeOptions, Selected, ServerMode, handler_from_program};
use trireme_core::{bundle, memory_file, spec};

use crate::args::Args;
use crate::folder::{self, Alive, STARTING};
use crate::install;
use crate::newcomers;
use crate::order::{ALIVE_FD, LISTENER_FD, ORDER_FD, Order};
use crate::wire::bootstrap::{self, Input};
use crate::wire::options;

/// Where servers keep their state.
const RUN: &str = "/run/trireme";
/// Where containerd keeps the sockets of shims.
const SOCKETS: &str = "/run/containerd/s";
/// The most that containerd may write to standard input, in bytes.
const MAX_INPUT: u64 = 4 << 20;

/// Prints the reply to containerd.
///
/// # Errors
///
/// When the configuration, the bundle or the installation is not as it has to
/// be; the message is what the user of containerd sees.
pub fn run(args: &Args) -> Result<()> {
    let mut bytes = Vec::new();
    io::stdin()
        .take(MAX_INPUT)
        .read_to_end(&mut bytes)
        .context("cannot read standard input")?;
    let input = bootstrap::parse(&bytes, &args.id, &args.namespace)?;
    let folder = args.bundle()?;
    let order = order(args, &input, &folder)?;
    let state = order.dir.join(&order.namespace).join(&args.id);
    bundle::link(&folder, &state).context("cannot write to the bundle")?;
    let socket = serve(&order, &args.id, &folder)?;
    let address = format!("unix://{}", socket.display());
    fs::write(folder.join("address"), &address)
        .context("cannot write the bundle's address file")?;
    io::stdout().write_all(&bootstrap::reply(&address, input.structured))?;
    Ok(())
}

/// What the task's server is to be.
fn order(args: &Args, input: &Input, bundle: &Path) -> Result<Order> {
    let options = match &input.options {
        Some(any) => options::parse(any)?,
        None => options::Options::default(),
    };
    let loaded = Config::load(options.config_path.as_deref().map(Path::new))?;
    let selected = select(&options, &loaded.config, loaded.file.as_deref())?;
    let annotations = spec::read_annotations(bundle)?;
    let group = spec::group(&annotations, &args.id);
    let key = key(args, &selected, &loaded.bytes, group)?;
    let sockets = input
        .socket_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(SOCKETS));
    Ok(Order {
        dir: Path::new(RUN).join(&key),
        socket: sockets.join(&key),
        containerd: args.address.clone(),
        events: events_address(args, input),
        namespace: args.namespace.clone(),
        mode: selected.handler.server,
        engine: selected.engine_choice(),
        network: selected.handler.network,
        limits: selected.handler.limits,
        cache: loaded.config.cache,
        server: loaded.config.server,
        debug: args.debug,
    })
}

/// The handler is what the runtime entry says, or this program's own name.
fn select(options: &options::Options, config: &Config, file: Option<&Path>) -> Result<Selected> {
    let body = match &options.config_body {
        Some(body) => RuntimeOptions::parse(body, Path::new("the runtime entry's options"))?,
        None => RuntimeOptions::default(),
    };
    let argv0: OsString = std::env::args_os().next().unwrap_or_default();
    let name = match &body.handler {
        Some(handler) => handler.as_str(),
        None => match handler_from_program(&argv0) {
            Some(handler) => handler,
            None => bail!(
                "{}: the program's name holds no handler; it has to be containerd-shim-<handler>-v1",
                argv0.to_string_lossy()
            ),
        },
    };
    Ok(config.handler(name, file)?)
}

/// Two tasks share a server if they have the same key: the same containerd and
/// namespace, the same build and configuration, the same handler and, unless
/// the handler's server is for the node, the same pod.
fn key(args: &Args, selected: &Selected, config: &[u8], group: &str) -> Result<String> {
    let build = install::build()?;
    let pod = match selected.handler.server {
        ServerMode::PerPod => group,
        ServerMode::PerNode => "",
    };
    let mut hash = Sha256::new();
    let parts = [
        args.address.as_bytes(),
        args.namespace.as_bytes(),
        build.as_bytes(),
        config,
        selected.name.as_bytes(),
        pod.as_bytes(),
    ];
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    // Half of the digest keeps the socket's path well below its limit.
    Ok(hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn events_address(args: &Args, input: &Input) -> String {
    input
        .ttrpc_address
        .clone()
        .or_else(|| {
            std::env::var("TTRPC_ADDRESS")
                .ok()
                .filter(|address| !address.is_empty())
        })
        .unwrap_or_else(|| format!("{}.ttrpc", args.address))
}

/// Returns the socket at which a server will answer: one that listens takes connections before its
/// server runs, and a server that lives does not leave while a start is announced. It may have been
/// started when containerd had another folder for sockets.
fn serve(order: &Order, id: &str, bundle: &Path) -> Result<PathBuf> {
    let what = || format!("cannot lock {}", order.dir.display());
    let _lock = folder::lock_or_make(&order.dir).with_context(what)?;
    // A new server is told too: on a busy machine its first task may come late.
    announce(&order.dir, id, bundle)?;
    match folder::alive(&order.dir).with_context(what)? {
        Alive::Free(alive) => spawn(order, alive).map(|()| order.socket.clone()),
        Alive::Held => folder::socket(&order.dir).with_context(what),
    }
}

/// Tells the server that containerd is about to bring it this task, and of which bundle.
fn announce(dir: &Path, id: &str, bundle: &Path) -> Result<()> {
    let starting = dir.join(STARTING);
    fs::create_dir_all(&starting)
        .and_then(|()| fs::write(starting.join(id), bundle.as_os_str().as_encoded_bytes()))
        .with_context(|| format!("cannot write to {}", starting.display()))
}

/// Starts the server with its socket listening already. The lock on `alive`
/// goes with the descriptor, and with the server's life.
fn spawn(order: &Order, alive: File) -> Result<()> {
    newcomers::mark(&order.dir)
        .with_context(|| format!("cannot write beside {}", order.dir.display()))?;
    // First: a socket that nothing names would stay.
    folder::listens_at(&alive, &order.socket)
        .with_context(|| format!("cannot write to {}", order.dir.display()))?;
    let listener = listen(&order.socket)?;
    let memory = memory_file::sealed_json("order", order).context("cannot make a memory file")?;
    let program = install::beside(install::SERVER)?;
    let fds = [
        (listener.as_raw_fd(), LISTENER_FD),
        (memory.as_raw_fd(), ORDER_FD),
        (alive.as_raw_fd(), ALIVE_FD),
    ];
    let mut command = Command::new(&program);
    command
        .arg("server")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    // SAFETY: between fork and exec only plain system calls are made, on
    // descriptors that this process holds open until the child has its own.
    unsafe { command.pre_exec(move || hand_over(&fds)) };
    command
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(())
}

fn listen(socket: &Path) -> Result<UnixListener> {
    let listen = || -> io::Result<UnixListener> {
        if let Some(dir) = socket.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)?;
        }
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    listen().with_context(|| format!("cannot listen at {}", socket.display()))
}

/// Puts descriptors in their places for the program to be executed, in a
/// session of its own.
fn hand_over(fds: &[(i32, i32); 3]) -> io::Result<()> {
    let _ = rustix::process::setsid();
    let mut above = [-1; 3];
    for (copy, (from, _)) in above.iter_mut().zip(fds) {
        // SAFETY: the parent holds the descriptor open until this child execs.
        let from = unsafe { BorrowedFd::borrow_raw(*from) };
        let fd = rustix::io::fcntl_dupfd_cloexec(from, ALIVE_FD + 1)?;
        *copy = std::os::fd::IntoRawFd::into_raw_fd(fd);
    }
    for (copy, (_, to)) in above.iter().zip(fds) {
        // SAFETY: the copy was made above. What `to` was in the parent is of no
        // use to this process any more, and nothing here closes it.
        unsafe {
            let mut target = std::mem::ManuallyDrop::new(
                <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(*to),
            );
            let copy = BorrowedFd::borrow_raw(*copy);
            rustix::io::dup2(copy, &mut target)?;
            rustix::io::fcntl_setfd(target.as_fd(), FdFlags::empty())?;
        }
    }
    Ok(())
}
