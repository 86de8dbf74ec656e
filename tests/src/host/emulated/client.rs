//! Commands in an emulated machine, through its keeper.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sys::signal::SigSet;

use super::keeper::SOCKET;
use super::wire::{Frame, Kind, Order};
use crate::host::{Instance, enter};

/// How much is passed on at a time.
const CHUNK: usize = 32 << 10;

/// Runs a command to its end with the caller's own stdin, stdout, stderr, and returns its exit
/// code, 128 + n if signal n ended it. It ends when the caller is killed.
pub fn run(instance: &Instance, command: &[String]) -> Result<i32> {
    let mut signals = SigSet::empty();
    signals.extend(enter::FORWARDED);
    signals.thread_block()?;
    let stream = begin(instance, command)?;
    let mut input = stream.try_clone()?;
    thread::spawn(move || feed(&mut input, io::stdin()));
    let mut forwards = stream.try_clone()?;
    thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            let _ = Frame::new(0, Kind::Signal, &[signal as u8]).write(&mut forwards);
        }
    });
    follow(instance, stream, |kind, bytes| {
        // The reader may have gone.
        let _ = match kind {
            Kind::Output => io::stdout()
                .write_all(bytes)
                .and_then(|()| io::stdout().flush()),
            _ => io::stderr().write_all(bytes),
        };
    })
}

/// What a command prints on stdout, which must succeed with `input` as its stdin.
pub fn output(instance: &Instance, command: &[&str], input: &[u8]) -> Result<String> {
    let words: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
    let stream = begin(instance, &words)?;
    feed(&mut stream.try_clone()?, input);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = follow(instance, stream, |kind, bytes| match kind {
        Kind::Output => stdout.extend_from_slice(bytes),
        _ => stderr.extend_from_slice(bytes),
    })?;
    if code != 0 {
        let said = String::from_utf8_lossy(&stderr);
        bail!(
            "`{}` in {instance} ended with {code}: {}",
            command.join(" "),
            said.trim()
        );
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Runs a command that must succeed.
pub fn succeed(instance: &Instance, command: &[&str], input: &[u8]) -> Result<()> {
    output(instance, command, input).map(drop)
}

fn begin(instance: &Instance, command: &[String]) -> Result<UnixStream> {
    let state = instance.state()?;
    // By a short name: the whole path may be longer than an address takes.
    let folder = File::open(&state).with_context(|| format!("open {}", state.display()))?;
    let socket = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("host {instance} is not up, or has died"))?;
    let folder = std::env::current_dir().unwrap_or_default();
    let order = Order {
        folder: folder.display().to_string(),
        words: command.to_vec(),
        environment: environment(instance)?,
    };
    Frame::new(0, Kind::Start, &order.encode()).write(&mut stream)?;
    Ok(stream)
}

fn environment(instance: &Instance) -> Result<Vec<(String, String)>> {
    let own = enter::environment(instance)?;
    let inherited = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| own.iter().all(|(other, _)| other != name));
    Ok(inherited
        .chain(
            own.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        )
        .collect())
}

fn feed(stream: &mut UnixStream, mut from: impl Read) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        if Frame::new(0, Kind::Input, &buffer[..got])
            .write(stream)
            .is_err()
        {
            return;
        }
    }
    let _ = Frame::new(0, Kind::EndOfInput, b"").write(stream);
}

fn follow(
    instance: &Instance,
    mut stream: UnixStream,
    mut print: impl FnMut(Kind, &[u8]),
) -> Result<i32> {
    while let Ok(Some(frame)) = Frame::read(&mut stream) {
        match frame.kind {
            Kind::Output | Kind::Errors => print(frame.kind, &frame.payload),
            Kind::Exit => return Ok(frame.payload.first().map_or(-1, |code| i32::from(*code))),
            Kind::Failed => bail!("{}", String::from_utf8_lossy(&frame.payload)),
            _ => {}
        }
    }
    let log = instance.state()?.join(super::super::namespace::LOG_FILE);
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    bail!("host {instance} died: {}", said.trim())
}
