//! The agent in an emulated machine: runs the commands that come through its port.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::wire::{Frame, Kind, Order};

/// The name of the port.
pub const PORT: &str = "agent";
const PORTS: &str = "/sys/class/virtio-ports";
/// How often the port is looked for, and looked at while nobody is at its other end.
const PAUSE: Duration = Duration::from_millis(100);
/// How long output is waited for once a command has ended: a process that it left behind may hold
/// its stdout for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The port, for all threads.
type Port = Arc<Mutex<File>>;
/// The commands that run.
type Commands = Arc<Mutex<HashMap<u32, Running>>>;

struct Running {
    pid: Pid,
    /// Bytes for its stdin; what is empty ends it.
    input: Sender<Vec<u8>>,
}

/// Serves for ever.
pub fn main() -> Result<()> {
    let mut port = File::options().read(true).write(true).open(find_port())?;
    let answers = Arc::new(Mutex::new(port.try_clone()?));
    let commands = Commands::default();
    say(&answers, Frame::new(0, Kind::Hello, b""));
    loop {
        match Frame::read(&mut port).context("read from the port")? {
            Some(frame) => obey(frame, &answers, &commands),
            None => thread::sleep(PAUSE),
        }
    }
}

fn find_port() -> PathBuf {
    loop {
        for entry in fs::read_dir(PORTS).into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            let device = Path::new("/dev").join(entry.file_name());
            if name.trim() == PORT && device.exists() {
                return device;
            }
        }
        thread::sleep(PAUSE);
    }
}

fn say(port: &Port, frame: Frame) {
    let mut port = port.lock().unwrap_or_else(PoisonError::into_inner);
    // Without the port there is nobody to tell.
    let _ = frame.write(&mut *port);
}

fn obey(frame: Frame, port: &Port, commands: &Commands) {
    let number = frame.command;
    if frame.kind == Kind::Ping {
        return say(port, frame);
    }
    if frame.kind == Kind::Start {
        if let Err(error) = start(&frame, port, commands) {
            let reason = format!("{error:#}");
            say(port, Frame::new(number, Kind::Failed, reason.as_bytes()));
        }
        return;
    }
    let commands = commands.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(running) = commands.get(&number) else {
        return;
    };
    match frame.kind {
        Kind::Input => {
            let _ = running.input.send(frame.payload);
        }
        Kind::EndOfInput => {
            let _ = running.input.send(Vec::new());
        }
        Kind::Signal => {
            let signal = frame.payload.first().map(|number| i32::from(*number));
            if let Some(Ok(signal)) = signal.map(Signal::try_from) {
                let _ = kill(running.pid, signal);
            }
        }
        Kind::Abandon => {
            let _ = killpg(running.pid, Signal::SIGKILL);
        }
        _ => {}
    }
}

fn start(frame: &Frame, port: &Port, commands: &Commands) -> Result<()> {
    let number = frame.command;
    let mut child = spawn(&Order::decode(&frame.payload)?)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (input, bytes) = channel();
    let running = Running {
        pid: Pid::from_raw(child.id() as i32),
        input,
    };
    let mut all = commands.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(number, running);
    drop(all);
    if let Some(stdin) = stdin {
        thread::spawn(move || feed(stdin, &bytes));
    }
    let (over, all_read) = channel();
    if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
        pass_on(stdout, number, Kind::Output, port, over.clone());
        pass_on(stderr, number, Kind::Errors, port, over);
    }
    let (port, commands) = (Arc::clone(port), Arc::clone(commands));
    thread::spawn(move || {
        let code = wait(&mut child);
        let mut all = commands.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&number);
        drop(all);
        for _ in 0..2 {
            let _ = all_read.recv_timeout(LAST_WORDS);
        }
        say(&port, Frame::new(number, Kind::Exit, &[code]));
    });
    Ok(())
}

fn spawn(order: &Order) -> Result<Child> {
    let (program, args) = order.words.split_first().context("no command was given")?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(order.environment.iter().cloned())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let folder = Path::new(&order.folder);
    command.current_dir(if folder.is_dir() {
        folder
    } else {
        Path::new("/")
    });
    command
        .spawn()
        .with_context(|| format!("run {program} in the host"))
}

fn feed(mut stdin: impl Write, bytes: &Receiver<Vec<u8>>) {
    while let Ok(bytes) = bytes.recv() {
        if bytes.is_empty() || stdin.write_all(&bytes).is_err() {
            return;
        }
    }
}

fn pass_on(
    mut from: impl Read + Send + 'static,
    number: u32,
    kind: Kind,
    port: &Port,
    over: Sender<()>,
) {
    let port = Arc::clone(port);
    thread::spawn(move || {
        let mut buffer = [0; 32 << 10];
        while let Ok(got @ 1..) = from.read(&mut buffer) {
            say(&port, Frame::new(number, kind, &buffer[..got]));
        }
        let _ = over.send(());
    });
}

fn wait(child: &mut Child) -> u8 {
    let Ok(status) = child.wait() else {
        return u8::MAX;
    };
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    code as u8
}
