//! An engine whose programs are scripts, for tests of everything around an
//! engine: no compiler, no machine code, and it starts in microseconds.
//!
//! A program is a module with a custom section [`SECTION`]: a command a line,
//! run from the top unless an entry function is named. Everything else in the
//! module is ignored, so a module may carry its script beside real code.
//!
//! | line | does |
//! |---|---|
//! | `out TEXT`, `err TEXT` | writes a line to stdout, stderr |
//! | `args`, `env` | prints arguments, environment, each ended by a NUL |
//! | `cat` | copies stdin to stdout |
//! | `read PATH` | prints a file below the first directory |
//! | `write PATH TEXT` | makes one of a line |
//! | `fill N` | prints N bytes, byte i is i modulo 251 |
//! | `random` | prints 16 random bytes |
//! | `realtime`, `monotonic` | prints the clock, nanoseconds in eight bytes, little-endian |
//! | `sleep MS`, `spin` | sleeps, computes for ever |
//! | `exit CODE` | ends |
//! | `trap FUNCTION CAUSE` | traps |
//! | `need MODULE NAME` | fails to load for want of this import |
//! | `fn NAME [PARAMETERS]` | ends the function before, begins another |
//!
//! `$1` is the guest's first argument after its name, for PATH and CODE. A
//! system call that fails ends the guest with 100 + errno.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    Adapter, Engine, EngineError, Guest, Info, Kind, Limits, Outcome, Preview, Program, Rights,
    Settings, World,
};

/// The custom section that holds the script.
pub const SECTION: &str = "trireme.fake";

/// The fake adapter.
pub static ADAPTER: Fake = Fake;

/// The fake engine.
pub struct Fake;

static INFO: Info = Info {
    name: "fake",
    version: env!("CARGO_PKG_VERSION"),
    kinds: &[Kind::Module],
    worlds: &[World::Command],
    wasi: &[Preview::P1],
    limits: &[],
    settings: &[],
};

/// What its precompiled code begins with; the length of the script follows in
/// four bytes, little-endian.
const MAGIC: &[u8] = b"trireme-fake\x01";

/// A module that runs `script` on the fake engine, and nowhere else.
///
/// # Panics
///
/// For a script of more than 127 bytes less the section's name: enough for
/// tests, and its length then takes one byte.
pub fn module(script: &str) -> Vec<u8> {
    let body = [
        &[SECTION.len() as u8],
        SECTION.as_bytes(),
        script.as_bytes(),
    ]
    .concat();
    assert!(body.len() < 0x80, "the script is too long");
    [&b"\0asm\x01\0\0\0\0"[..], &[body.len() as u8], &body].concat()
}

impl Adapter for Fake {
    fn info(&self) -> &Info {
        &INFO
    }

    fn create(&self, _: &Settings, _: &Limits) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Interpreter))
    }
}

struct Interpreter;

impl Engine for Interpreter {
    fn accepts(&self, wasm: &[u8], kind: Kind) -> Result<(), EngineError> {
        script(wasm, kind).map(drop)
    }

    fn compile(&self, wasm: &[u8], kind: Kind) -> Result<Vec<u8>, EngineError> {
        let script = script(wasm, kind)?;
        let length = u32::try_from(script.len())
            .map_err(|_| EngineError::Rejected("a script of 4 GiB".into()))?;
        Ok([MAGIC, &length.to_le_bytes(), script.as_bytes()].concat())
    }

    unsafe fn load(
        &self,
        mut code: File,
        _: Kind,
        entry: Option<&str>,
    ) -> Result<Box<dyn Program>, EngineError> {
        let mut bytes = Vec::new();
        code.read_to_end(&mut bytes)
            .map_err(|error| EngineError::Precompiled(error.to_string()))?;
        let script = precompiled(&bytes)
            .ok_or_else(|| EngineError::Precompiled("not of the fake engine".into()))?;
        Ok(Box::new(Script {
            lines: function(script, entry.unwrap_or("_start"))?,
        }))
    }
}

/// The script of a module.
fn script(wasm: &[u8], kind: Kind) -> Result<&str, EngineError> {
    let rejected = |why: &str| EngineError::Rejected(why.into());
    if kind == Kind::Component {
        return Err(rejected("the fake engine takes no components"));
    }
    let mut rest = wasm
        .strip_prefix(b"\0asm\x01\0\0\0")
        .ok_or_else(|| rejected("not a WebAssembly module"))?;
    let mut found = None;
    while let Some((id, after)) = rest.split_first() {
        let (section, after) = sized(after).ok_or_else(|| rejected("a section is cut short"))?;
        rest = after;
        match (id, sized(section)) {
            (0, Some((name, text))) if name == SECTION.as_bytes() => found = Some(text),
            _ => {}
        }
    }
    let text = found.ok_or_else(|| rejected("no custom section trireme.fake"))?;
    str::from_utf8(text).map_err(|_| rejected("its script is not UTF-8"))
}

/// Splits off what an unsigned LEB128 number says the length of.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return bytes[i + 1..].split_at_checked(length);
        }
    }
    None
}

fn precompiled(bytes: &[u8]) -> Option<&str> {
    let (length, script) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    let whole = script.len() == usize::try_from(u32::from_le_bytes(*length)).ok()?;
    str::from_utf8(script).ok().filter(|_| whole)
}

/// The lines of the function `name`, or why it cannot be called.
fn function(script: &str, name: &str) -> Result<Vec<String>, EngineError> {
    if let Some(import) = script.lines().find_map(|line| line.strip_prefix("need ")) {
        return Err(EngineError::Link(format!(
            "import {import} is not provided"
        )));
    }
    let mut functions = vec![("_start", "", Vec::new())];
    for line in script.lines() {
        if let Some(heading) = line.strip_prefix("fn ") {
            let (name, parameters) = heading.split_once(' ').unwrap_or((heading, ""));
            functions.push((name, parameters, Vec::new()));
        } else if let Some((_, _, lines)) = functions.last_mut() {
            lines.push(line.to_owned());
        }
    }
    let names: Vec<_> = functions.iter().map(|(name, _, _)| *name).collect();
    let known = names.join(", ");
    match functions.into_iter().find(|(known, _, _)| *known == name) {
        Some((_, "", lines)) => Ok(lines),
        Some(_) => Err(EngineError::Link(format!(
            "the function {name} takes parameters"
        ))),
        None => Err(EngineError::Link(format!(
            "no function {name}; there are: {known}"
        ))),
    }
}

/// A function that is ready to run.
struct Script {
    lines: Vec<String>,
}

/// Why the lines after one are not run.
enum Stop {
    Outcome(Outcome),
    Failed(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Stop::Failed(errno)
    }
}

impl Program for Script {
    fn run(self: Box<Self>, guest: Guest) -> Outcome {
        let stopped = self.lines.iter().try_for_each(|line| step(line, &guest));
        match stopped {
            Ok(()) => Outcome::Exit(0),
            Err(Stop::Outcome(outcome)) => outcome,
            Err(Stop::Failed(errno)) => {
                Outcome::Exit(u8::try_from(100 + errno.raw_os_error()).unwrap_or(u8::MAX))
            }
        }
    }
}

fn step(line: &str, guest: &Guest) -> Result<(), Stop> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let word = match word {
        "$1" => guest.args.get(1).map_or("", String::as_str),
        word => word,
    };
    match command {
        "out" => write(stdout(), format!("{rest}\n").as_bytes())?,
        "err" => write(stderr(), format!("{rest}\n").as_bytes())?,
        "args" => guest
            .args
            .iter()
            .try_for_each(|arg| write(stdout(), format!("{arg}\0").as_bytes()))?,
        "env" => guest
            .env
            .iter()
            .try_for_each(|(key, value)| write(stdout(), format!("{key}={value}\0").as_bytes()))?,
        "cat" => copy(stdin())?,
        "read" => copy(open(guest, word, OFlags::RDONLY)?.as_fd())?,
        "write" => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
            write(
                open(guest, word, flags)?.as_fd(),
                format!("{text}\n").as_bytes(),
            )?;
        }
        "fill" => {
            let bytes: Vec<u8> = (0..number(word)?).map(|i| (i % 251) as u8).collect();
            write(stdout(), &bytes)?;
        }
        "random" => {
            let mut bytes = [0; 16];
            getrandom(&mut bytes, GetRandomFlags::empty())?;
            write(stdout(), &bytes)?;
        }
        "realtime" => write(stdout(), &clock(ClockId::Realtime))?,
        "monotonic" => write(stdout(), &clock(ClockId::Monotonic))?,
        "sleep" => std::thread::sleep(Duration::from_millis(number(word)?)),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "exit" => return Err(Stop::Outcome(Outcome::Exit((number(word)? & 0xff) as u8))),
        "trap" => {
            return Err(Stop::Outcome(Outcome::Trap(format!(
                "{text} in function {word}"
            ))));
        }
        "" => {}
        _ => {
            return Err(Stop::Outcome(Outcome::Trap(format!(
                "no command {command:?}"
            ))));
        }
    }
    Ok(())
}

fn number(word: &str) -> Result<u64, Stop> {
    word.parse()
        .map_err(|_| Stop::Outcome(Outcome::Trap(format!("{word:?} is not a number in _start"))))
}

fn open(guest: &Guest, path: &str, flags: OFlags) -> Result<File, Errno> {
    let directory = guest.directories.first().ok_or(Errno::BADF)?;
    if directory.rights == Rights::ReadOnly && flags.contains(OFlags::CREATE) {
        return Err(Errno::ROFS);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mode = if flags.contains(OFlags::CREATE) {
        0o666
    } else {
        0
    };
    let flags = flags | OFlags::CLOEXEC;
    openat2(
        &directory.dir,
        path,
        flags,
        Mode::from_raw_mode(mode),
        resolve,
    )
    .map(File::from)
}

fn copy(from: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut buffer = [0; 16384];
    loop {
        match rustix::io::read(from, &mut buffer)? {
            0 => return Ok(()),
            n => write(stdout(), &buffer[..n])?,
        }
    }
}

fn write(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let n = rustix::io::write(to, bytes)?;
        bytes = &bytes[n..];
    }
    Ok(())
}

fn clock(id: ClockId) -> [u8; 8] {
    let now = clock_gettime(id);
    (now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_module_is_accepted_and_a_plain_one_is_not() {
        assert_eq!(
            script(&module("out hi\n"), Kind::Module).unwrap(),
            "out hi\n"
        );
        let error = script(b"\0asm\x01\0\0\0", Kind::Module).unwrap_err();
        assert_eq!(error.to_string(), "no custom section trireme.fake");
    }
}
