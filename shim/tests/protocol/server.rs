//! A server as `start` makes it, in a folder of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FileType, FlockOperation, MemfdFlags, Mode};
use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use trireme_container::state;
use trireme_core::config::{Config, ServerMode};
use trireme_shim::folder::{ALIVE, LOCK};
use trireme_shim::install::{EXECUTOR, SERVER};
use trireme_shim::order::{ALIVE_FD, LISTENER_FD, ORDER_FD, Order};
use trireme_tests::protocol::events::Events;

use crate::executor::END;

const CLEAN_LIMIT: Duration = Duration::from_secs(10);

/// A server that runs, the events it sends, and a folder for both that goes with them.
pub struct Server {
    folder: TempDir,
    child: Child,
    /// What its cgroups are told by, even after another one has come in its place.
    mark: u32,
    /// What it sends to containerd.
    pub events: Events,
}

impl Server {
    /// Starts a server of a pod in the namespace `default`.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        install(path)?;
        for name in ["server", "tasks", "fifo"] {
            fs::create_dir(path.join(name))?;
        }
        let events = Events::listen(&path.join("events.sock"))?;
        let child = spawn(path, &order(path)?)?;
        Ok(Self {
            mark: child.id(),
            folder,
            child,
            events,
        })
    }

    /// Its process.
    pub fn pid(&self) -> u64 {
        self.child.id().into()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("server.sock")
    }

    /// The folder of the server's state.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    /// One of the installed programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts another one in its place after it was killed.
    pub fn start_next(&mut self) -> Result<()> {
        fs::remove_file(self.socket())?;
        let path = self.folder.path();
        self.child = spawn(path, &order(path)?)?;
        Ok(())
    }

    /// The cgroups of a bundle's container that are there, in any hierarchy.
    pub fn cgroups(&self, id: &str) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
        hierarchies
            .map(|hierarchy| hierarchy.path())
            .chain([root.to_owned()])
            .map(|folder| folder.join(&self.cgroup(id)[1..]))
            .filter(|folder| folder.exists())
            .collect()
    }

    /// The path of a container's cgroups below each hierarchy.
    pub fn cgroup(&self, id: &str) -> String {
        format!("/trireme-test-{}-{id}", self.mark)
    }

    /// The folder of the bundles.
    pub fn tasks(&self) -> PathBuf {
        self.folder.path().join("tasks")
    }

    /// The folder of the clients' FIFOs.
    pub fn fifos(&self) -> PathBuf {
        self.folder.path().join("fifo")
    }

    /// Makes a bundle of a specification. Its cgroup is one that no container has.
    pub fn bundle(&self, id: &str, mut config: Value) -> Result<PathBuf> {
        let bundle = self.tasks().join(id);
        fs::create_dir_all(bundle.join("rootfs"))?;
        config["linux"]["cgroupsPath"] = json!(self.cgroup(id));
        fs::write(bundle.join("config.json"), config.to_string())?;
        if !bundle.join(END).exists() {
            fifo(&bundle.join(END))?;
        }
        Ok(bundle)
    }

    /// Lets a guest end by itself.
    pub fn end(&self, id: &str) -> Result<()> {
        // One that is open for reading as well needs no reader yet, and is one's writer at once;
        // it stays until the guest has opened its own end.
        let end = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.tasks().join(id).join(END))?;
        std::mem::forget(end);
        Ok(())
    }

    /// Waits for the server to leave by itself.
    pub fn left(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = ended(&mut self.child, limit)?;
        status.with_context(|| format!("the server is still there after {limit:?}"))
    }
}

/// Waits for the end of a child, which may not come in time.
pub fn ended(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let deadline = Instant::now() + CLEAN_LIMIT;
        let server = self.folder();
        for left in state::all(&server).unwrap_or_default() {
            if let Err(error) = state::clean(&left, deadline) {
                eprintln!("protocol: {}: {error}", left.path().display());
            }
        }
    }
}

/// Makes a FIFO.
pub fn fifo(path: &Path) -> Result<()> {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .with_context(|| format!("make the FIFO {}", path.display()))
}

/// The server looks for the executor beside itself.
fn install(folder: &Path) -> Result<()> {
    let copy = |from: &Path, name: &str| -> Result<()> {
        let to = folder.join(name);
        if fs::hard_link(from, &to).is_err() {
            fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
        }
        Ok(())
    };
    copy(Path::new(env!("CARGO_BIN_EXE_trireme-shim")), SERVER)?;
    copy(&std::env::current_exe()?, EXECUTOR)
}

fn order(folder: &Path) -> Result<Order> {
    let config = Config::default();
    let selected = config.handler("wasmtime", None)?;
    Ok(Order {
        dir: folder.join("server"),
        socket: folder.join("server.sock"),
        containerd: folder.join("containerd.sock").display().to_string(),
        events: folder.join("events.sock").display().to_string(),
        namespace: "default".into(),
        mode: ServerMode::PerPod,
        engine: selected.engine_choice(),
        network: selected.handler.network,
        limits: selected.handler.limits,
        cache: config.cache,
        server: config.server,
        debug: true,
    })
}

/// The descriptors are handed over as `start` does it.
fn spawn(folder: &Path, order: &Order) -> Result<Child> {
    let listener = UnixListener::bind(&order.socket)?;
    let mut memory = File::from(rustix::fs::memfd_create("order", MemfdFlags::CLOEXEC)?);
    memory.write_all(&serde_json::to_vec(order)?)?;
    memory.rewind()?;
    File::create(order.dir.join(LOCK))?;
    let alive = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(order.dir.join(ALIVE))?;
    rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive)?;
    let fds = [
        (listener.as_raw_fd(), LISTENER_FD),
        (memory.as_raw_fd(), ORDER_FD),
        (alive.as_raw_fd(), ALIVE_FD),
    ];
    let mut command = Command::new(folder.join(SERVER));
    command
        .arg("server")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .current_dir("/");
    // SAFETY: only system calls, on descriptors that this process holds open until the child has
    // its own.
    unsafe {
        command.pre_exec(move || {
            limit_open_files()?;
            hand_over(&fds)
        })
    };
    command.spawn().context("start the server")
}

/// As systemd does where nothing is said.
fn limit_open_files() -> std::io::Result<()> {
    let own = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: Some(1024),
        ..own
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn hand_over(fds: &[(i32, i32); 3]) -> std::io::Result<()> {
    let mut above = [-1; 3];
    for (copy, (from, _)) in above.iter_mut().zip(fds) {
        // SAFETY: the parent holds it open until this child execs.
        let from = unsafe { BorrowedFd::borrow_raw(*from) };
        // Above the number by which std reports a failure to exec, whatever that is.
        *copy = rustix::io::fcntl_dupfd_cloexec(from, 100)?.into_raw_fd();
    }
    for (copy, (_, to)) in above.iter().zip(fds) {
        // SAFETY: the copy was made above; what `to` was is of no use in this child.
        unsafe {
            let mut target = std::mem::ManuallyDrop::new(OwnedFd::from_raw_fd(*to));
            rustix::io::dup2(BorrowedFd::borrow_raw(*copy), &mut target)?;
            rustix::io::fcntl_setfd(&*target, FdFlags::empty())?;
        }
    }
    Ok(())
}
