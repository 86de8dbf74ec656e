//! The child process of a case: one request, one engine, one answer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::{
    Adapter, Directory, Engine, EngineError, Guest, Kind, Limits, Outcome, Rights, SettingValue,
    Settings, World,
};

/// Names the file that holds the request.
pub(super) const REQUEST: &str = "TRIREME_SUITE_REQUEST";

/// The longest that any child may take.
const DEADLINE_SECONDS: u32 = 50;

/// What a child is to do.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    pub settings: BTreeMap<String, SettingValue>,
    pub limits: Limits,
    pub task: Task,
    /// Where the answer goes.
    pub answer: PathBuf,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Task {
    Create,
    Accepts {
        wasm: PathBuf,
        kind: Kind,
    },
    Compile {
        wasm: PathBuf,
        kind: Kind,
        to: PathBuf,
    },
    Run {
        code: PathBuf,
        kind: Kind,
        entry: Option<String>,
        guest: GuestRequest,
    },
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct GuestRequest {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directories: Vec<(PathBuf, String, bool)>,
}

/// How the child fared.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub end: End,
    /// Threads of the child at its end.
    pub threads: usize,
    /// Whether its working directory is another than at its start.
    pub moved: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// The engine did what was asked, short of running.
    Done,
    /// The engine refused, before anything ran.
    Refused {
        by: Refusal,
        why: String,
    },
    Exit(u8),
    Trap(String),
    Limit(String),
    Link(String),
    Internal(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    Settings,
    Rejected,
    Link,
    Limit,
    Precompiled,
    Internal,
}

impl From<EngineError> for End {
    fn from(error: EngineError) -> Self {
        let by = match &error {
            EngineError::Settings(_) => Refusal::Settings,
            EngineError::Rejected(_) => Refusal::Rejected,
            EngineError::Link(_) => Refusal::Link,
            EngineError::Limit(_) => Refusal::Limit,
            EngineError::Precompiled(_) => Refusal::Precompiled,
            EngineError::Internal(_) => Refusal::Internal,
        };
        End::Refused {
            by,
            why: error.to_string(),
        }
    }
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Exit(code) => End::Exit(code),
            Outcome::Trap(why) => End::Trap(why),
            Outcome::Limit(why) => End::Limit(why),
            Outcome::Link(why) => End::Link(why),
            Outcome::Internal(why) => End::Internal(why),
        }
    }
}

/// The request that this process was started for, if it is a child.
pub(super) fn requested() -> Option<PathBuf> {
    std::env::var_os(REQUEST).map(PathBuf::from)
}

/// Does what the request says and ends as init would.
pub(super) fn serve(adapter: &dyn Adapter, request: &Path) -> ExitCode {
    exit_on_sigterm();
    // A guest that hangs ends, and with it the case that reads its output.
    // SAFETY: an alarm whose default action ends the process.
    unsafe { libc::alarm(DEADLINE_SECONDS) };
    let request: Request = parse(request);
    let start = std::env::current_dir().ok();
    let (end, status) = perform(adapter, &request);
    let moved = start != std::env::current_dir().ok();
    let answer = Answer {
        end,
        threads: threads(),
        moved,
    };
    let text = serde_json::to_vec(&answer).unwrap_or_default();
    if let Err(error) = fs::write(&request.answer, text) {
        eprintln!("{}: {error}", request.answer.display());
    }
    ExitCode::from(status)
}

fn perform(adapter: &dyn Adapter, request: &Request) -> (End, u8) {
    let settings = match Settings::check(adapter.info().settings, &request.settings) {
        Ok(settings) => settings,
        Err(error) => {
            return (
                End::Refused {
                    by: Refusal::Settings,
                    why: error.to_string(),
                },
                0,
            );
        }
    };
    let engine = match adapter.create(&settings, &request.limits) {
        Ok(engine) => engine,
        Err(error) => return (error.into(), 0),
    };
    match &request.task {
        Task::Create => (End::Done, 0),
        Task::Accepts { wasm, kind } => (
            engine
                .accepts(&bytes(wasm), *kind)
                .map_or_else(End::from, |()| End::Done),
            0,
        ),
        Task::Compile { wasm, kind, to } => (compile(&*engine, wasm, *kind, to), 0),
        Task::Run {
            code,
            kind,
            entry,
            guest,
        } => run(&*engine, code, *kind, entry.as_deref(), guest),
    }
}

fn compile(engine: &dyn Engine, wasm: &Path, kind: Kind, to: &Path) -> End {
    match engine.compile(&bytes(wasm), kind) {
        Ok(code) => match fs::write(to, code) {
            Ok(()) => End::Done,
            Err(error) => End::Internal(format!("{}: {error}", to.display())),
        },
        Err(error) => error.into(),
    }
}

fn run(
    engine: &dyn Engine,
    code: &Path,
    kind: Kind,
    entry: Option<&str>,
    guest: &GuestRequest,
) -> (End, u8) {
    let code = open(code);
    let guest = Guest {
        world: World::Command,
        args: guest.args.clone(),
        env: guest.env.clone(),
        cwd: "/".into(),
        directories: guest.directories.iter().map(directory).collect(),
        network: false,
        parallelism: 1,
    };
    // SAFETY: cases that run code have it from `compile`, in a file that only
    // they know; those that alter it alter what every engine checks.
    match unsafe { engine.load(code, kind, entry) } {
        Ok(program) => {
            let outcome = program.run(guest);
            let status = outcome.status();
            (outcome.into(), status)
        }
        Err(error) => (error.into(), 0),
    }
}

fn directory((path, name, writable): &(PathBuf, String, bool)) -> Directory {
    let rights = if *writable {
        Rights::ReadWrite
    } else {
        Rights::ReadOnly
    };
    Directory {
        dir: open(path),
        name: name.clone(),
        rights,
    }
}

fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse(path: &Path) -> Request {
    serde_json::from_slice(&bytes(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// As init does: a terminating signal ends the process from its handler.
fn exit_on_sigterm() {
    extern "C" fn exit(signal: libc::c_int) {
        // SAFETY: `_exit` may be called from a signal handler.
        unsafe { libc::_exit(128 + signal) }
    }
    let handler = exit as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing that a handler may not do.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
}
