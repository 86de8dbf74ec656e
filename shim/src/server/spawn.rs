//! Spawning a process of a container, and giving it what it asks for until it
//! is ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::unix::AsyncFd;
use trireme_container::cgroup::Cgroup;
use trireme_container::filter::Filter;
use trireme_container::link::{FirstOrder, FromInit, InitOrder, Link, ToInit};
use trireme_container::process::{Child, EXECUTOR, Spawn, new_namespaces};
use trireme_container::stdio;
use trireme_container::zygote::Role;
use trireme_core::memory_file;
use trireme_core::plan::{NamespaceKind, Namespaces, Plan};
use trireme_core::request::EngineChoice;

use super::abandon::Abandoned;
use super::ahead::EarlyInit;
use super::birth::Beginner;
use super::code::Program;
use super::create::{Maker, given_up};
use super::elsewhere::{self, Found};
use super::error::ServiceError;
use super::hooks::Hooks;
use super::log::TaskLog;
use super::process::{reap, receive};
use super::ready;
use super::streams::GuestStreams;

/// Where and as what a process is born.
pub(super) struct Birth<'a> {
    /// What it is to be.
    pub role: Role,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// Whether that is made meanwhile; the process is then told when it is there.
    pub cgroup_later: bool,
    /// Flags of `clone(2)`.
    pub new_namespaces: i32,
    /// A pid namespace to be born in, or a process whose it is.
    pub pid_namespace: Option<BorrowedFd<'a>>,
    /// The init to join.
    pub init: Option<BorrowedFd<'a>>,
    /// The network namespace of an init that has been made for it.
    pub network: Option<BorrowedFd<'a>>,
    /// What it may set up before it has its errand.
    pub engine: Option<&'a EngineChoice>,
}

impl<'a> Birth<'a> {
    /// That of an init, with new namespaces as they are asked for, or a network namespace that
    /// has been made.
    pub fn of_init(
        cgroup: &'a Cgroup,
        namespaces: &Namespaces,
        network: Option<&'a OwnedFd>,
    ) -> Self {
        let mut new_namespaces = new_namespaces(namespaces);
        if network.is_some() {
            new_namespaces &= !NamespaceKind::Network.flag();
        }
        Birth {
            role: Role::Init,
            cgroup,
            cgroup_later: cgroup.may_follow(),
            new_namespaces,
            pid_namespace: None,
            init: None,
            network: network.map(AsFd::as_fd),
            engine: None,
        }
    }
}

/// What a process is to do.
pub(super) struct Errand<'a> {
    /// The container's plan, or what is executed in it.
    pub plan: &'a Plan,
    /// The container's system call filter.
    pub filter: Option<&'a Filter>,
    /// Its standard streams.
    pub streams: &'a GuestStreams,
    /// Whether it has to wait for hooks.
    pub hooks: bool,
    /// Whether it is only to tell a Linux program from a guest.
    pub look: bool,
}

impl Errand<'_> {
    fn order(&self, network: bool) -> InitOrder {
        InitOrder {
            plan: self.plan.clone(),
            filter: self.filter.cloned(),
            network,
            hooks: self.hooks,
            look: self.look,
            terminal: self.streams.is_terminal(),
        }
    }

    /// Tells it to a process that was spawned without. That may be gone, and what it had to say
    /// about that is still to be read.
    pub fn send(&self, init: &EarlyInit) -> Result<(), ServiceError> {
        let sent = match init.has_plan {
            true => self.send_root(init),
            false => self.send_whole(init),
        };
        match sent {
            Err(error) if is_gone(&error) => Ok(()),
            other => other.map_err(|error| ServiceError::Setup(format!("init: {error}"))),
        }
    }

    /// To one that has its plan.
    fn send_root(&self, init: &EarlyInit) -> io::Result<()> {
        let order = ToInit::Order {
            terminal: self.streams.is_terminal(),
            root: Some(self.plan.root.mounts.clone()),
        };
        match init.link.get_ref().send_all(&order, &self.streams.borrow()) {
            // It is more than a message holds.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.send_whole(init),
            sent => sent,
        }
    }

    fn send_whole(&self, init: &EarlyInit) -> io::Result<()> {
        let whole = memory_file::sealed_json("plan", &self.order(init.network))?;
        let [input, output, error] = self.streams.borrow();
        let order = ToInit::Order {
            terminal: self.streams.is_terminal(),
            root: None,
        };
        let descriptors = [whole.as_fd(), input, output, error];
        init.link.get_ref().send_all(&order, &descriptors)
    }
}

/// What an entry point turned out to be.
pub(super) enum Born {
    /// A guest, which waits to be let run.
    Guest,
    /// A Linux program. The process that found out has ended.
    Native,
}

/// Which process is on its way.
#[derive(Clone, Copy)]
pub(super) enum Who<'a> {
    /// A container's first one.
    Init(&'a Child),
    /// One that is executed beside it.
    Beside(&'a Beginner<'a>),
}

impl Who<'_> {
    fn process(&self) -> &Child {
        match self {
            Who::Init(child) => child,
            Who::Beside(beginner) => beginner.process(),
        }
    }

    async fn hear(&self, link: &AsyncFd<Link>) -> io::Result<Option<(FromInit, Option<OwnedFd>)>> {
        match self {
            Who::Init(_) => receive(link).await,
            Who::Beside(beginner) => beginner.hear(link).await,
        }
    }
}

/// A process on its way to be ready.
pub(super) struct Newborn<'a> {
    /// The process.
    pub who: Who<'a>,
    /// The server's end of its link.
    pub link: &'a AsyncFd<Link>,
    /// The hooks that it waits for.
    pub hooks: Option<&'a Hooks>,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// The cgroup of its compiler.
    pub compiler: &'a Cgroup,
    /// The container's log.
    pub log: &'a TaskLog,
    /// Whether anybody still wants it.
    pub abandoned: &'a Abandoned,
}

impl Maker {
    /// Spawns a process, which waits for its errand where there is none yet.
    pub(super) async fn spawn(
        &self,
        errand: Option<&Errand<'_>>,
        birth: &Birth<'_>,
        log: &TaskLog,
    ) -> Result<(Child, AsyncFd<Link>), ServiceError> {
        let failed = |error: io::Error| {
            let why = format!("cannot start init: {error}");
            ServiceError::Setup(self.order.engine.naming("", &why))
        };
        let order = FirstOrder {
            cgroup: birth.cgroup.join_files(),
            cgroup_later: birth.cgroup_later,
            engine: birth.engine.cloned(),
            rest: errand.map(|errand| Box::new(errand.order(birth.network.is_some()))),
        };
        let null;
        let streams = match errand {
            Some(errand) => errand.streams.borrow(),
            None => {
                null = stdio::null().map_err(failed)?;
                [null.as_fd(); 3]
            }
        };
        let order = memory_file::sealed_json("plan", &order).map_err(failed)?;
        let (here, there) = ready::link().map_err(failed)?;
        let cgroup = birth.cgroup.clone_into()?;
        let spawn = Spawn {
            executor: &self.executor,
            name: EXECUTOR,
            verb: match birth.role {
                Role::Init => c"init",
                Role::Exec => c"exec",
            },
            stdio: streams,
            // What is executed takes it where it is born.
            terminal: birth.role == Role::Init
                && errand.is_some_and(|errand| errand.streams.is_terminal()),
            link: there.as_fd(),
            plan: order.as_fd(),
            subject: birth.init.or(birth.network),
            new_namespaces: birth.new_namespaces,
            pid_namespace: birth.pid_namespace,
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
        };
        let child = self
            .zygote
            .spawn(&spawn, birth.role, &self.order, log)
            .await?;
        Ok((child, here))
    }

    /// Gives a process what it asks for until it is ready.
    pub(super) async fn converse(
        &self,
        plan: &Plan,
        newborn: &Newborn<'_>,
    ) -> Result<Born, ServiceError> {
        let Newborn {
            who,
            link,
            hooks,
            abandoned,
            ..
        } = *newborn;
        let mut has_code = false;
        let failed = |why: &str| {
            let what = format!("{}: ", plan.id);
            ServiceError::Setup(self.order.engine.naming(&what, why))
        };
        loop {
            let message = abandoned
                .or(who.hear(link))
                .await
                .ok_or_else(given_up)?
                .map_err(|error| failed(&format!("init: {error}")))?;
            match (message, hooks) {
                (Some((FromInit::Built, _)), Some(hooks)) if !has_code => {
                    let hooks = hooks.create_runtime(who.process().pid.unsigned_abs());
                    abandoned.or(hooks).await.ok_or_else(given_up)??;
                    say(link, &ToInit::Proceed, None)?;
                }
                // Once: after that init has loaded code, and may be what that made
                // of it.
                (Some((FromInit::Program { kind, identity }, Some(file))), _) if !has_code => {
                    has_code = true;
                    let program = Program {
                        file,
                        kind,
                        identity,
                        sha256: None,
                        cgroup: newborn.compiler,
                        name: &plan.entry.path,
                        log: newborn.log,
                        abandoned,
                    };
                    let code = self.code.code(program).await?;
                    say(link, &ToInit::Code, Some(code.as_fd()))?;
                }
                (Some((FromInit::Missing { message }, _)), _) if !has_code => {
                    has_code = true;
                    self.find_elsewhere(plan, newborn, message).await?;
                }
                (Some((FromInit::Ready, _)), _) => return Ok(Born::Guest),
                (Some((FromInit::Native, _)), _) if !has_code => return Ok(Born::Native),
                (Some((FromInit::Failed { message }, _)), _) => {
                    return Err(ServiceError::Setup(message));
                }
                (Some((other, _)), _) => {
                    return Err(failed(&format!("unexpected message of init: {other:?}")));
                }
                (None, _) => return Err(self.lost(plan, newborn).await),
            }
        }
    }

    /// Gives a process a program that is not in the container's tree, or fails
    /// with its message.
    async fn find_elsewhere(
        &self,
        plan: &Plan,
        newborn: &Newborn<'_>,
        message: String,
    ) -> Result<(), ServiceError> {
        let Newborn {
            link,
            log,
            abandoned,
            ..
        } = *newborn;
        let search = elsewhere::find(&self.order, plan, log);
        let found = abandoned.or(search).await.ok_or_else(given_up)??;
        let Found { module, file } = found.ok_or(ServiceError::Setup(message))?;
        let title = module.title;
        let kind = module.kind;
        say(link, &ToInit::Elsewhere { kind, title }, None)?;
        let program = Program {
            file,
            kind,
            identity: None,
            sha256: module.sha256.as_deref(),
            cgroup: newborn.compiler,
            name: &module.origin,
            log,
            abandoned,
        };
        let code = self.code.code(program).await?;
        say(link, &ToInit::Code, Some(code.as_fd()))
    }

    /// Why a process ended without a word.
    async fn lost(&self, plan: &Plan, newborn: &Newborn<'_>) -> ServiceError {
        let oom = newborn.cgroup.oom_kills() > 0;
        let engine = &self.order.engine;
        let status = reap(newborn.who.process()).await;
        let why = match status {
            _ if oom => "its memory limit is too low for the engine and the program".to_owned(),
            Ok(status) => engine.lost("init, which was not ready yet,", status),
            Err(error) => error.to_string(),
        };
        ServiceError::Setup(engine.naming(&format!("{}: ", plan.id), &why))
    }
}

/// Says something to a process, which may be gone.
pub(super) fn say(
    link: &AsyncFd<Link>,
    message: &ToInit,
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), ServiceError> {
    match link.get_ref().send(message, fd) {
        // It is gone; what it had to say about that is still to be read.
        Err(error) if is_gone(&error) => Ok(()),
        other => other.map_err(|error| ServiceError::Setup(format!("init: {error}"))),
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}
