//! A loaded program to its outcome.

use std::io;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::fchdir;
use tokio::runtime::Runtime;
use trireme_engine::{Directory, Guest, Limits, Outcome, Preview, Program, Rights};
use wasmtime::component::ResourceTable;
use wasmtime::{Error, Store};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::error;
use crate::limits::Limiter;
use crate::load::{ComponentHost, Limited, ModuleHost};
use crate::stdio::{Input, Output};

/// A module with its imports resolved.
pub(crate) struct ModuleProgram {
    pub(crate) pre: wasmtime::InstancePre<ModuleHost>,
    pub(crate) entry: String,
    pub(crate) limits: Limits,
    pub(crate) site: Prepared<ModuleHost>,
}

/// A component with its imports resolved.
pub(crate) struct ComponentProgram {
    pub(crate) entry: ComponentEntry,
    pub(crate) limits: Limits,
    pub(crate) site: Prepared<ComponentHost>,
}

/// Where a guest is to run, or why it cannot, once that was made.
pub(crate) type Prepared<H> = Option<Result<Site<H>, Outcome>>;

/// What a guest runs in.
///
/// File and stdio operations block the thread, as they do in a native program;
/// the runtime serves clocks, sockets and waiting for stdin.
pub(crate) struct Site<H: 'static> {
    runtime: Runtime,
    store: Store<H>,
}

/// What of a component is called.
pub(crate) enum ComponentEntry {
    /// `run` of `wasi:cli/run`.
    Command(CommandPre<ComponentHost>),
    /// A function that the component itself exports.
    Function(wasmtime::component::InstancePre<ComponentHost>, String),
}

impl Program for ModuleProgram {
    fn prepare(&mut self, guest: &Guest) {
        self.site = Some(self.make_site(guest));
    }

    fn run(mut self: Box<Self>, guest: Guest) -> Outcome {
        let site = self.site.take();
        let site = site.unwrap_or_else(|| self.make_site(&guest));
        drop(guest);
        let outcome = in_site(site, &self.limits, async |store| {
            let instance = self.pre.instantiate_async(&mut *store).await?;
            let function = instance
                .get_func(&mut *store, &self.entry)
                .ok_or_else(|| Error::msg("the entry function is gone"))?;
            let mut results = vec![wasmtime::Val::I32(0); function.ty(&*store).results().len()];
            function.call_async(store, &[], &mut results).await?;
            Ok(0)
        });
        std::mem::forget(self);
        outcome
    }
}

impl ModuleProgram {
    fn make_site(&self, guest: &Guest) -> Result<Site<ModuleHost>, Outcome> {
        Site::make(self.pre.module().engine(), || {
            Ok(ModuleHost {
                wasi: wasi(guest, Preview::P1)?.build_p1(),
                limiter: Limiter::new(&self.limits),
            })
        })
    }
}

impl Program for ComponentProgram {
    fn prepare(&mut self, guest: &Guest) {
        self.site = Some(self.make_site(guest));
    }

    fn run(mut self: Box<Self>, guest: Guest) -> Outcome {
        let site = self.site.take();
        let site = site.unwrap_or_else(|| self.make_site(&guest));
        drop(guest);
        let outcome = in_site(site, &self.limits, async |store| {
            self.entry.call(store).await
        });
        std::mem::forget(self);
        outcome
    }
}

impl ComponentProgram {
    fn make_site(&self, guest: &Guest) -> Result<Site<ComponentHost>, Outcome> {
        Site::make(self.entry.engine(), || {
            Ok(ComponentHost {
                wasi: wasi(guest, Preview::P2)?.build(),
                table: ResourceTable::new(),
                limiter: Limiter::new(&self.limits),
                network: guest.network,
            })
        })
    }
}

impl<H: Limited> Site<H> {
    fn make(
        engine: &wasmtime::Engine,
        host: impl FnOnce() -> Result<H, Outcome>,
    ) -> Result<Self, Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Outcome::Internal(format!("no event loop for the guest: {error}")))?;
        let entered = runtime.enter();
        let mut store = Store::new(engine, host()?);
        store.limiter(|host| host.limiter());
        drop(entered);
        Ok(Site { runtime, store })
    }
}

/// Drives a guest to its end on this thread, where it has a site. What it ran in, the program too,
/// is left to the kernel, which takes it apart when the process ends: that is what follows, and what
/// somebody waits for.
fn in_site<H: Limited>(
    site: Result<Site<H>, Outcome>,
    limits: &Limits,
    call: impl AsyncFnOnce(&mut Store<H>) -> Result<u8, Error>,
) -> Outcome {
    let Site { runtime, mut store } = match site {
        Ok(site) => site,
        Err(outcome) => return outcome,
    };
    runtime.block_on(async move {
        let called = match fill(&mut store, limits) {
            Ok(()) => call(&mut store).await,
            Err(error) => Err(error),
        };
        let outcome = outcome(called, store.data_mut().limiter());
        std::mem::forget(store);
        outcome
    })
}

impl ComponentEntry {
    fn engine(&self) -> &wasmtime::Engine {
        match self {
            ComponentEntry::Command(pre) => pre.engine(),
            ComponentEntry::Function(pre, _) => pre.engine(),
        }
    }

    /// Instantiates and calls; the exit code of a return.
    async fn call(&self, store: &mut Store<ComponentHost>) -> Result<u8, Error> {
        match self {
            ComponentEntry::Command(pre) => {
                let command = pre.instantiate_async(&mut *store).await?;
                let result = command.wasi_cli_run().call_run(store).await?;
                Ok(u8::from(result.is_err()))
            }
            ComponentEntry::Function(pre, name) => {
                let instance = pre.instantiate_async(&mut *store).await?;
                let function = instance
                    .get_func(&mut *store, name)
                    .ok_or_else(|| Error::msg("the entry function is gone"))?;
                let count = function.ty(&*store).results().len();
                let mut results = vec![wasmtime::component::Val::Bool(false); count];
                function.call_async(&mut *store, &[], &mut results).await?;
                Ok(0)
            }
        }
    }
}

fn fill<T>(store: &mut Store<T>, limits: &Limits) -> Result<(), Error> {
    limits.fuel.map_or(Ok(()), |fuel| store.set_fuel(fuel))
}

fn outcome(called: Result<u8, Error>, limiter: &Limiter) -> Outcome {
    match (called, limiter.refused()) {
        (Ok(code), _) => Outcome::Exit(code),
        (Err(_), Some(refused)) => Outcome::Limit(refused.into()),
        (Err(error), None) => error::outcome(&error),
    }
}

/// The guest's WASI, made from nothing that existed before this call: its
/// random numbers start from the kernel's here.
fn wasi(guest: &Guest, level: Preview) -> Result<WasiCtxBuilder, Outcome> {
    let mut builder = WasiCtx::builder();
    builder
        .allow_blocking_current_thread(true)
        .args(&guest.args)
        .envs(&guest.env)
        .initial_cwd(&guest.cwd)
        .stdin(Input)
        .stdout(Output::stdout(level))
        .stderr(Output::stderr(level))
        .allow_tcp(guest.network)
        .allow_udp(guest.network)
        // By the C library; `names` looks them up for components.
        .allow_ip_name_lookup(false);
    if guest.network {
        builder.inherit_network();
    }
    preopen(&mut builder, &guest.directories)
        .map_err(|why| Outcome::Internal(format!("a directory of the guest: {why}")))?;
    Ok(builder)
}

/// Hands the directories over. `WasiCtxBuilder` opens them by path only, and no
/// absolute path means the same here as where they were opened; so each is made
/// the working directory for a moment and opened as `.`.
fn preopen(builder: &mut WasiCtxBuilder, directories: &[Directory]) -> Result<(), String> {
    if directories.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let before = openat(CWD, ".", flags, Mode::empty()).map_err(|error| error.to_string())?;
    for Directory { dir, name, rights } in directories {
        let permissions = match rights {
            Rights::ReadOnly => FsPerms::ReadOnly,
            Rights::ReadWrite => FsPerms::ReadWrite,
        };
        fchdir(dir)
            .map_err(|error| Error::from(io::Error::from(error)))
            .and_then(|()| builder.preopened_dir(".", name, permissions).map(drop))
            .map_err(|error| format!("{name}: {error:#}"))?;
    }
    fchdir(&before).map_err(|error| error.to_string())
}
