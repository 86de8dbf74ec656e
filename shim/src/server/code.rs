//! Finding a program's precompiled code, or having it made.
//!
//! A file that was seen since boot is known by its identity, and nothing of it
//! is read. Any other is read by a compiler: a process without privileges that
//! reports a digest before it compiles, so that the server can name the cache
//! entry, and stop it where there is one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::fs::SealFlags;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use trireme_container::cgroup::{Cgroup, CgroupError};
use trireme_container::link::{CompileOrder, FromCompiler, Link, ToCompiler};
use trireme_container::process::{Child, EXECUTOR, Spawn, open_read_only};
use trireme_container::{state, stdio};
use trireme_core::cache::{
    Cache, CacheError, FileIdentity, IdentityIndex, Key, KeyParts, Origin, processor_features,
};
use trireme_core::{memory_file, message};
use trireme_engine::Kind;

use super::abandon::Abandoned;
use super::aside::aside;
use super::build::EngineBuild;
use super::container::remove_cgroup;
use super::create::given_up;
use super::error::ServiceError;
use super::log::TaskLog;
use super::process::{lock, reap, receive};
use super::ready;
use crate::order::Order;

/// The most threads a compiler may have.
const MAX_THREADS: u32 = 512;

/// Where this server finds and keeps code.
pub struct CodeStore {
    order: Order,
    executor: PathBuf,
    index: IdentityIndex,
    cache: Mutex<Option<Cache>>,
    build: Arc<EngineBuild>,
    processor: OnceLock<String>,
}

/// A program that init has opened.
pub struct Program<'a> {
    /// The file.
    pub file: OwnedFd,
    /// Module or component.
    pub kind: Kind,
    /// What it is known by.
    pub identity: Option<FileIdentity>,
    /// The SHA-256 by which a content store has it, in hexadecimal.
    pub sha256: Option<&'a str>,
    /// The cgroup that its compiler runs in.
    pub cgroup: &'a Cgroup,
    /// Its name in the container, for messages.
    pub name: &'a str,
    /// The log of its task.
    pub log: &'a TaskLog,
    /// Whether anybody still wants it.
    pub abandoned: &'a Abandoned,
}

impl CodeStore {
    /// A store for the order's engine.
    pub(super) fn new(order: Order, executor: PathBuf, build: Arc<EngineBuild>) -> Self {
        CodeStore {
            order,
            executor,
            index: IdentityIndex::new(std::path::Path::new(state::ROOT)),
            cache: Mutex::default(),
            build,
            processor: OnceLock::new(),
        }
    }

    /// The program's code, open for reading.
    ///
    /// # Errors
    ///
    /// When the program cannot be compiled, or not in time.
    pub async fn code(&self, program: Program<'_>) -> Result<File, ServiceError> {
        let build = self.build()?;
        if let Some(file) = self.known(&program, &build).await {
            return Ok(file);
        }
        let compiler = match Compiler::spawn(self, &program) {
            Ok(compiler) => compiler,
            Err(error) => {
                remove_cgroup(program.cgroup, program.log).await;
                return Err(error);
            }
        };
        let work = compiler.run(self, &program, &build);
        let result = program.abandoned.or(work).await;
        compiler.end(program.cgroup, program.log).await;
        result.ok_or_else(given_up)?
    }

    /// The code of a file that was seen since boot, or whose digest somebody
    /// vouches for.
    async fn known(&self, program: &Program<'_>, build: &str) -> Option<File> {
        let key = match (program.sha256, &program.identity) {
            (Some(wasm), _) => self.key(wasm, build),
            (None, Some(identity)) => self.index.find(identity, &self.context(build))?,
            (None, None) => return None,
        };
        self.find(&key, program.log).await
    }

    /// The code of a key. Code that was not read since boot is read by a
    /// thread of its own; the server goes on meanwhile.
    async fn find(&self, key: &Key, log: &TaskLog) -> Option<File> {
        let cache = self.cache(log)?;
        match cache.find_verified(key) {
            Ok(Some(file)) => return Some(file),
            Ok(None) => {}
            Err(error) => {
                log.warn(&format!("running uncached: {}", message::of(&error)));
                return None;
            }
        }
        let key = key.clone();
        match aside(move || cache.find(&key)).await {
            Ok(found) => found,
            Err(error) => {
                log.warn(&format!("running uncached: {}", message::of(&error)));
                None
            }
        }
    }

    /// The cache, or `None`, with a warning, where it cannot be used now; a
    /// later start tries again.
    fn cache(&self, log: &TaskLog) -> Option<Cache> {
        let mut cache = lock(&self.cache);
        if !cache.as_ref().is_some_and(Cache::is_there) {
            *cache = match self.open_cache() {
                Ok(cache) => Some(cache),
                Err(why) => {
                    log.warn(&format!("running uncached: {why}"));
                    None
                }
            };
        }
        cache.clone()
    }

    /// A container's processes are handed code, and Linux programs among them may
    /// be able to open what a guest has open: by way of a read-only mount, then.
    fn open_cache(&self) -> Result<Cache, String> {
        let cache = Cache::open(&self.order.cache.dir).map_err(|error| message::of(&error))?;
        let code = open_read_only(&cache.code_dir()).map_err(|error| error.to_string())?;
        let run = std::path::Path::new(state::ROOT);
        Ok(cache.with_run_dir(run).with_reading(code))
    }

    /// All of a key but the program.
    fn context(&self, build: &str) -> String {
        let engine = &self.order.engine;
        format!(
            "{}\n{build}\n{}\n{}",
            engine.engine,
            engine.canonical(),
            self.processor()
        )
    }

    fn build(&self) -> Result<String, ServiceError> {
        let unusable = |reason: String| ServiceError::Setup(self.order.engine.unusable(&reason));
        self.build.id().map_err(unusable)
    }

    fn processor(&self) -> &str {
        self.processor.get_or_init(processor_features)
    }

    fn key(&self, wasm: &str, build: &str) -> Key {
        Key::new(KeyParts {
            wasm,
            engine: &self.order.engine.engine,
            build,
            settings: &self.order.engine.canonical(),
            processor: self.processor(),
        })
    }

    /// Files code that was compiled. Where that fails, for want of room for
    /// instance, the container runs from memory.
    async fn keep(&self, key: &Key, origin: Origin, code: File, log: &TaskLog) -> File {
        let Some(cache) = self.cache(log) else {
            return code;
        };
        let key = key.clone();
        let max_size = self.order.cache.max_size.0;
        if code
            .metadata()
            .is_ok_and(|metadata| metadata.len() > max_size)
        {
            log.warn("running uncached: the code is larger than the whole cache may be");
            return code;
        }
        let copy = code.try_clone();
        let insert = move || -> Result<File, CacheError> {
            let source = copy.map_err(|source| CacheError::Io {
                path: "memory".into(),
                source,
            })?;
            cache.insert(&key, &origin, &source, max_size)
        };
        match aside(insert).await {
            Ok(file) => file,
            Err(error) => {
                log.warn(&format!("running uncached: {}", message::of(&error)));
                code
            }
        }
    }

    fn failed(&self, program: &Program<'_>, reason: &str) -> ServiceError {
        let program = format!("{} {}: ", program.kind, program.name);
        ServiceError::Setup(self.order.engine.naming(&program, reason))
    }
}

struct Compiler {
    child: Child,
    link: AsyncFd<Link>,
}

impl Compiler {
    fn spawn(store: &CodeStore, program: &Program<'_>) -> Result<Self, ServiceError> {
        limit(
            program.cgroup,
            store.order.limits.compile_memory.0,
            program.log,
        )?;
        let order = CompileOrder {
            engine: store.order.engine.clone(),
            kind: program.kind,
            cgroup: program.cgroup.join_files(),
        };
        let setup =
            |error: io::Error| store.failed(program, &format!("cannot start a compiler: {error}"));
        let order = memory_file::sealed_json("order", &order).map_err(setup)?;
        let (link, there) = ready::link().map_err(setup)?;
        let null = stdio::null().map_err(setup)?;
        let cgroup = program.cgroup.clone_into()?;
        let child = Spawn {
            executor: &store.executor,
            name: EXECUTOR,
            verb: c"compile",
            stdio: [null.as_fd(); 3],
            terminal: false,
            link: there.as_fd(),
            plan: order.as_fd(),
            subject: Some(program.file.as_fd()),
            new_namespaces: libc::CLONE_NEWNS
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUTS,
            pid_namespace: None,
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
        }
        .spawn()?;
        Ok(Compiler { child, link })
    }

    async fn run(
        &self,
        store: &CodeStore,
        program: &Program<'_>,
        build: &str,
    ) -> Result<File, ServiceError> {
        let timeout: Duration = store.order.limits.compile_timeout;
        let work = self.converse(store, program, build);
        match tokio::time::timeout_at(Instant::now() + timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(store.failed(
                program,
                &format!(
                    "compiling took more than {timeout:?}; raise compile_timeout in \
                     [handlers.{}.limits], or run `trireme compile` ahead of time",
                    store.order.engine.handler
                ),
            )),
        }
    }

    async fn converse(
        &self,
        store: &CodeStore,
        program: &Program<'_>,
        build: &str,
    ) -> Result<File, ServiceError> {
        let wasm = match self.hear(store, program).await? {
            (FromCompiler::Hashed { wasm }, _) if is_digest(&wasm) => wasm,
            (other, _) => return Err(store.failed(program, &unexpected(&other))),
        };
        let key = store.key(&wasm, build);
        if let Some(file) = store.find(&key, program.log).await {
            remember(store, program, build, &key);
            return Ok(file);
        }
        if let Some(file) = self.lock(store, program, &key).await? {
            remember(store, program, build, &key);
            return Ok(file);
        }
        self.say(store, program, ToCompiler::Compile, None).await?;
        let code = match self.hear(store, program).await? {
            (FromCompiler::Compiled, Some(code))
                if is_sealed(&code, store.order.limits.compile_memory.0) =>
            {
                File::from(code)
            }
            (other, _) => return Err(store.failed(program, &unexpected(&other))),
        };
        if store.build()? != build {
            let log = program.log;
            log.warn("running uncached: the engine's plugin was replaced while it compiled");
            return Ok(code);
        }
        let origin = Origin {
            wasm,
            engine: store.order.engine.engine.clone(),
            build: build.to_owned(),
        };
        let file = store.keep(&key, origin, code, program.log).await;
        remember(store, program, build, &key);
        Ok(file)
    }

    /// Has the compiler wait for the lock of the key, and looks again: another
    /// server may have had the same code made meanwhile.
    async fn lock(
        &self,
        store: &CodeStore,
        program: &Program<'_>,
        key: &Key,
    ) -> Result<Option<File>, ServiceError> {
        let Some(cache) = store.cache(program.log) else {
            return Ok(None);
        };
        let lock = match cache.lock_file(key) {
            Ok(lock) => lock,
            Err(error) => {
                program.log.warn(&message::of(&error));
                return Ok(None);
            }
        };
        self.say(store, program, ToCompiler::Lock, Some(lock))
            .await?;
        match self.hear(store, program).await? {
            (FromCompiler::Locked, _) => Ok(store.find(key, program.log).await),
            (other, _) => Err(store.failed(program, &unexpected(&other))),
        }
    }

    async fn say(
        &self,
        store: &CodeStore,
        program: &Program<'_>,
        message: ToCompiler,
        fd: Option<File>,
    ) -> Result<(), ServiceError> {
        let said = self.link.get_ref();
        match said.send(&message, fd.as_ref().map(AsFd::as_fd)) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.lost(store, program).await),
        }
    }

    /// Why the compiler has ended without a word.
    async fn lost(&self, store: &CodeStore, program: &Program<'_>) -> ServiceError {
        let engine = &store.order.engine;
        let why = match reap(&self.child).await {
            _ if program.cgroup.oom_kills() > 0 => needs_memory(&store.order, program.cgroup),
            Ok(status) => engine.lost("the compiler", status),
            Err(error) => format!("the compiler cannot be reaped: {error}"),
        };
        store.failed(program, &why)
    }

    async fn hear(
        &self,
        store: &CodeStore,
        program: &Program<'_>,
    ) -> Result<(FromCompiler, Option<OwnedFd>), ServiceError> {
        match receive::<FromCompiler>(&self.link).await {
            Ok(Some((FromCompiler::Failed { message }, _))) => Err(store.failed(program, &message)),
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(self.lost(store, program).await),
            Err(error) => Err(store.failed(program, &format!("the compiler: {error}"))),
        }
    }

    /// Ends the compiler, and with it its lock, and removes its cgroup.
    async fn end(self, cgroup: &Cgroup, log: &TaskLog) {
        if let Err(error) = reap(&self.child).await {
            log.warn(&format!("the compiler cannot be reaped: {error}"));
        }
        remove_cgroup(cgroup, log).await;
    }
}

/// Makes a compiler's cgroup. A host that does not account for memory limits
/// none; the time a compiler may take is limited all the same.
fn limit(cgroup: &Cgroup, memory: u64, log: &TaskLog) -> Result<(), ServiceError> {
    let resources = serde_json::json!({
        "memory": { "limit": memory },
        "pids": { "limit": MAX_THREADS },
    });
    let resources = serde_json::from_value(resources).ok();
    match cgroup.create(resources.as_ref()) {
        Err(CgroupError::NoController { .. }) => {
            log.warn(
                "a compiler is not limited: this host lacks the memory or the pids controller",
            );
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Whose memory it was that a compiler has run out of.
fn needs_memory(order: &Order, cgroup: &Cgroup) -> String {
    if cgroup.has_met_memory_limit() {
        format!(
            "compiling needs more than {} bytes of memory; raise compile_memory in \
             [handlers.{}.limits]",
            order.limits.compile_memory.0, order.engine.handler
        )
    } else {
        "compiling needs more memory than the container's pod, or the host, has left; give it more, \
         or run `trireme compile` ahead of time"
            .to_owned()
    }
}

/// Whether a descriptor is a memory file that nobody can change any more and
/// of a size that a compiler can make: what one has become of a hostile program
/// could send anything. One with holes would take no memory of its cgroup, and all of
/// its size of the disk.
fn is_sealed(code: &OwnedFd, max_size: u64) -> bool {
    const BLOCK: u64 = 512;
    let wanted = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    let is_whole = |stat: rustix::fs::Stat| {
        let size = u64::try_from(stat.st_size).ok()?;
        let taken = u64::try_from(stat.st_blocks).ok()? * BLOCK;
        Some(size <= max_size && size <= taken)
    };
    rustix::fs::fcntl_get_seals(code).is_ok_and(|seals| seals.contains(wanted))
        && rustix::fs::fstat(code).is_ok_and(|stat| is_whole(stat) == Some(true))
}

fn is_digest(text: &str) -> bool {
    Key::parse(text).is_some()
}

fn unexpected(message: &FromCompiler) -> String {
    format!("unexpected message of the compiler: {message:?}")
}

/// A file that cannot be remembered is read again next time.
fn remember(store: &CodeStore, program: &Program<'_>, build: &str, key: &Key) {
    if let Some(identity) = &program.identity
        && let Err(error) = store.index.remember(identity, &store.context(build), key)
    {
        program
            .log
            .debug(&format!("cannot remember {}: {error}", program.name));
    }
}
