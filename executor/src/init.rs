//! `trireme-executor init`: from a fresh process in new namespaces to a guest
//! that waits to be started. The order is that of
//! [`trireme_container::init`], and each step's reason is there.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use rustix::fs::{CWD, Mode, OFlags};
use trireme_container::crash;
use trireme_container::init::{
    self as container, InitError, credentials, namespaces, program, rootfs, signals,
};
use trireme_container::link::{FromInit, InitOrder, Link, ToInit};
use trireme_container::process::{LINK_FD, PLAN_FD, SUBJECT_FD};
use trireme_core::message;
use trireme_core::plan::Plan;
use trireme_core::request::EngineChoice;
use trireme_engine::{Directory, Engine, Guest, Kind, Program, Rights, World};

use crate::{deadline, engines, guest};

/// A guest that only has to be let run.
pub struct Prepared {
    program: Box<dyn Program>,
    guest: Guest,
    plan: Plan,
}

/// What leads to a guest: a container's init, or what is executed beside it.
pub type Prepare = fn(&Link, File, EngineSource) -> Result<Prepared>;

/// Where the engine comes from.
pub enum EngineSource {
    /// It is created for this guest.
    New,
    /// It was created before its guest was known, for any of this choice.
    Made(Box<dyn Engine>, Box<EngineChoice>),
}

impl EngineSource {
    /// Creates it if there is none yet. What fails here fails again where it is needed, as it may
    /// not be: a Linux program needs none.
    pub fn make(&mut self, choice: EngineChoice) {
        if let EngineSource::New = self
            && let Ok(engine) = engines::create(&choice)
        {
            *self = EngineSource::Made(engine, Box::new(choice));
        }
    }

    /// The engine of a choice. It ends with the process: to take it apart would write to memory
    /// that a copy shares with its zygote, while somebody waits.
    pub fn engine(self, choice: &EngineChoice) -> Result<&'static dyn Engine> {
        let engine = match self {
            EngineSource::New => engines::create(choice)?,
            EngineSource::Made(engine, own) if *own == *choice => engine,
            EngineSource::Made(_, own) => {
                return Err(anyhow!(
                    "the engine that was made ahead is {} for handler \"{}\", not {} for \"{}\"",
                    own.engine,
                    own.handler,
                    choice.engine,
                    choice.handler
                ));
            }
        };
        Ok(Box::leak(engine))
    }
}

/// Prepares a guest, waits to be started, runs it.
pub fn main(prepare: Prepare, source: EngineSource) -> Result<u8> {
    // SAFETY: the server hands these two descriptors over by their numbers;
    // nothing else in this process knows of them.
    let (link, order) = unsafe {
        (
            Link::from(OwnedFd::from_raw_fd(LINK_FD)),
            File::from_raw_fd(PLAN_FD),
        )
    };
    let mut prepared = match prepare(&link, order, source) {
        Ok(prepared) => prepared,
        Err(error) => {
            let last = match error.downcast_ref() {
                Some(InitError::Native(_)) => FromInit::Native,
                _ => FromInit::Failed {
                    message: message::of(error.as_ref()),
                },
            };
            // Without a server there is nobody left to tell.
            let _ = link.send(&last, None);
            return Ok(crate::FAILED);
        }
    };
    crash::step("before_ready");
    link.send(&FromInit::Ready, None)?;
    // While the container waits for its start.
    prepared.program.prepare(&prepared.guest);
    match link.receive::<ToInit>()? {
        Some((ToInit::Start, _)) => {}
        // The server is gone, or the container was deleted before its start.
        _ => return Ok(crate::FAILED),
    }
    drop(link);
    let Prepared {
        program,
        guest,
        plan,
    } = prepared;
    let status = guest::run(program, guest, &plan.engine);
    // SAFETY: ends the process without running destructors of an engine that
    // may be in any state; output is the guest's own and is not buffered here.
    unsafe { libc::_exit(status.into()) }
}

/// Sets the container up.
pub fn prepare(link: &Link, order: File, mut source: EngineSource) -> Result<Prepared> {
    container::harden(SUBJECT_FD)?;
    crash::keep();
    // SAFETY: the standard streams are the guest's or nothing, and nothing here owns them.
    let received = unsafe { container::order::receive(link, order, |engine| source.make(engine))? };
    let InitOrder {
        mut plan,
        filter,
        network,
        hooks,
        look,
        ..
    } = received.order;
    // SAFETY: the server hands this descriptor over by its number, and says so; nothing else
    // in this process knows of it.
    let network = network.then(|| unsafe { OwnedFd::from_raw_fd(SUBJECT_FD) });
    if let Some(adjustment) = plan.oom_score_adj {
        container::adjust_oom_score(adjustment)?;
    }
    namespaces::enter(&plan, network.as_ref().map(AsFd::as_fd))?;
    drop(network);
    let tree = rootfs::Tree::build(&plan, received.filesystems)?;
    crash::step("after_mount");
    if look {
        program::open(&tree, &plan)?;
        anyhow::bail!("this is a guest");
    }
    if hooks {
        // They run once, also for a Linux program; and may put a guest there.
        if let Err(error @ InitError::Native(_)) = program::open(&tree, &plan) {
            return Err(error.into());
        }
        link.send(&FromInit::Built, None)?;
        expect(link, &ToInit::Proceed)?;
    }
    let found = look_up(link, &tree, &plan)?;
    // While the server looks for the code, or has it compiled.
    deadline::report_to_server();
    let engine = source.engine(&plan.engine)?;
    tree.ensure_folder(&plan.cwd)?;
    let home = home(&tree, &plan);
    container::is_alone()?;
    tree.enter(plan.root.read_only)?;
    let kind = match found {
        Some(kind) => kind,
        None => elsewhere(link, &mut plan)?,
    };
    // While the server is still looking.
    credentials::drop_all(&plan, filter.as_ref())?;
    load(link, plan, engine, kind, home)
}

/// Loads the code that the server sends, in a process without privileges.
pub fn load(
    link: &Link,
    plan: Plan,
    engine: &dyn Engine,
    kind: Kind,
    home: String,
) -> Result<Prepared> {
    let guest = guest_of(&plan, home)?;
    let code = expect(link, &ToInit::Code)?.context("the server sent no code")?;
    // SAFETY: the code comes from the server's cache or from its compiler of
    // this very build and settings, and nobody else can write to it.
    let program = unsafe { engine.load(File::from(code), kind, plan.entry.function.as_deref()) }
        .map_err(|error| blame(&plan, kind, &error))?;
    // What a plugin does to handlers when it loads is undone.
    let installed = match plan.engine.plugin.is_none() && signals::are_installed() {
        true => signals::install_in_copy(),
        false => signals::install(),
    };
    installed.context("cannot install signal handlers")?;
    Ok(Prepared {
        program,
        guest,
        plan,
    })
}

/// Sends the program of the tree to the server: its kind, or `None` where the
/// tree has none.
pub fn look_up(link: &Link, tree: &rootfs::Tree, plan: &Plan) -> Result<Option<Kind>> {
    match program::open(tree, plan) {
        Ok(found) => {
            let message = FromInit::Program {
                kind: found.kind,
                identity: found.identity,
            };
            link.send(&message, Some(found.file.as_fd()))?;
            Ok(Some(found.kind))
        }
        Err(error @ (InitError::Missing { .. } | InitError::NoEntry)) => {
            let message = error.to_string();
            link.send(&FromInit::Missing { message }, None)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until the server has found the program, and takes its name for a
/// command that names none.
pub fn elsewhere(link: &Link, plan: &mut Plan) -> Result<Kind> {
    match link.receive::<ToInit>()? {
        Some((ToInit::Elsewhere { kind, title }, _)) => {
            if let Some(title) = title.filter(|_| plan.entry.path.trim_matches('/').is_empty()) {
                plan.entry.path = title;
            }
            Ok(kind)
        }
        Some((message, _)) => Err(anyhow!("unexpected message of the server: {message:?}")),
        None => Err(anyhow!("the server is gone")),
    }
}

/// A failure to load, with all that names it.
fn blame(plan: &Plan, kind: Kind, error: &trireme_engine::EngineError) -> anyhow::Error {
    anyhow!(
        "handler \"{}\", engine {}: {kind} {}: {error}",
        plan.engine.handler,
        plan.engine.engine,
        plan.entry.path
    )
}

/// Waits for one message of the server; anything else is the end.
fn expect(link: &Link, wanted: &ToInit) -> Result<Option<OwnedFd>> {
    match link.receive::<ToInit>()? {
        Some((message, fd)) if message == *wanted => Ok(fd),
        Some((message, _)) => Err(anyhow!(
            "expected {wanted:?} of the server, not {message:?}"
        )),
        None => Err(anyhow!("the server is gone")),
    }
}

/// The home directory of the container's user, as runc has it: that of
/// `/etc/passwd`, or `/`.
pub fn home(tree: &rootfs::Tree, plan: &Plan) -> String {
    const MAX_PASSWD: u64 = 1 << 20;
    let passwd = tree.read("/etc/passwd", MAX_PASSWD).unwrap_or_default();
    credentials::home(&passwd, plan.user.uid)
}

fn guest_of(plan: &Plan, home: String) -> Result<Guest> {
    let mut env = plan.env.clone();
    if env.iter().all(|(name, _)| name != "HOME") {
        env.push(("HOME".to_owned(), home));
    }
    let mut args = plan.args.clone();
    match args.first_mut() {
        Some(first) => first.clone_from(&plan.entry.path),
        None => args.push(plan.entry.path.clone()),
    }
    Ok(Guest {
        world: World::Command,
        args,
        env,
        cwd: plan.cwd.clone(),
        directories: directories(plan)?,
        network: plan.network,
        parallelism: guest::parallelism(),
    })
}

/// The working directory first, as `.`, for programs that take the first
/// directory for it; then the root, which wins in those that compare names.
fn directories(plan: &Plan) -> Result<Vec<Directory>> {
    let open = |path: &str, name: &str| -> Result<Directory> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, OFlags::RDONLY | flags, Mode::empty())
            .or_else(|_| rustix::fs::openat(CWD, path, OFlags::PATH | flags, Mode::empty()))
            .with_context(|| format!("cannot enter {path} as user {}", plan.user.uid))?;
        Ok(Directory {
            dir: dir.into(),
            name: name.to_owned(),
            rights: Rights::ReadWrite,
        })
    };
    Ok(vec![open(&plan.cwd, ".")?, open("/", "/")?])
}
