//! The keeper of an emulated machine: boots it, carries commands to its agent, and ends with it.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};

use super::emulator::{Machine, SHARED, end_all, last_words};
use super::wire::{Frame, Kind};
use super::{PROGRAMS, READY, shared};
use crate::host::mounts::BIN_FOLDER;
use crate::host::namespace::PID_FILE;
use crate::host::{Cgroups, Instance, Root, roots};
use crate::process::Known;

/// Where it listens, in the host's state folder.
pub const SOCKET: &str = "agent.sock";

/// A machine that dies while it boots is booted again.
const BOOTS: u32 = 3;
const PING_PAUSE: Duration = Duration::from_secs(10);
/// A machine that has not answered for so long is taken for dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// The commands that somebody waits for, and the way to each.
type Clients = Arc<Mutex<HashMap<u32, Sender<Frame>>>>;
/// The way to the agent, for all threads.
type Port = Arc<Mutex<UnixStream>>;
type Heard = Arc<Mutex<Instant>>;

/// Boots the machine of a host and serves until it ends.
pub fn main(instance: &Instance) -> Result<()> {
    let Root::Emulated(release, cgroups) = instance.kind.root else {
        bail!("{instance} is no emulated machine");
    };
    nix::unistd::setsid().context("leave the session of the caller")?;
    let state = instance.state()?;
    Known::of(std::process::id() as i32)?.save(&state.join(PID_FILE))?;
    std::env::set_current_dir(&state)?;
    share(instance, &state)?;
    let (image, _lock) = roots::hold(release)?;
    let stop = signals()?;
    thread::spawn(move || {
        let _ = stop.wait();
        leave("it was told to end");
    });
    let (_machine, port) = boot(&image, cgroups)?;
    let listener = UnixListener::bind(SOCKET).context("listen for commands")?;
    let (mut answers, clients) = (port.try_clone()?, Clients::default());
    let heard = Arc::new(Mutex::new(Instant::now()));
    {
        let (clients, heard) = (Arc::clone(&clients), Arc::clone(&heard));
        thread::spawn(move || {
            let end = dispatch(&mut answers, &clients, &heard);
            leave(&format!("the machine has ended: {end:?}"));
        });
    }
    let port = Arc::new(Mutex::new(port));
    {
        let port = Arc::clone(&port);
        thread::spawn(move || watch(&port, &heard));
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{READY}")?;
    stdout.flush()?;
    let null = fs::File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(&null)?;
    for (number, client) in (1..).zip(listener.incoming()) {
        serve(number, client?, &port, &clients)?;
    }
    Ok(())
}

/// What asks it to end.
fn signals() -> Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    Ok(signals)
}

/// Lays out the shared folder, by binds that nobody else sees.
fn share(instance: &Instance, state: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace (this needs root)")?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("make mounts private")?;
    let share = state.join(SHARED);
    let program = std::env::current_exe().context("find the path of this program")?;
    let programs = program.parent().context("this program has no folder")?;
    bind(&state.join(BIN_FOLDER), &share.join(BIN_FOLDER))?;
    bind(programs, &share.join(PROGRAMS))?;
    for folder in shared(instance)? {
        let same = folder.strip_prefix("/").unwrap_or(&folder);
        bind(&folder, &share.join("same").join(same))?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    for folder in [from, to] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("bind {} to {}", from.display(), to.display()))
}

fn boot(image: &Path, cgroups: Cgroups) -> Result<(Machine, UnixStream)> {
    let mut boot = 1;
    loop {
        let mut machine = Machine::start(image, cgroups)?;
        match machine.wait().with_context(last_words) {
            Ok(port) => return Ok((machine, port)),
            Err(error) if boot < BOOTS => eprintln!("boot {boot} of {BOOTS} failed: {error:#}"),
            Err(error) => return Err(error),
        }
        boot += 1;
    }
}

/// Ends the machine and this process.
fn leave(why: &str) -> ! {
    eprintln!("{why}; {}", last_words());
    // From here on there is nothing to do about what fails.
    let _ = end_all(Path::new("."));
    std::process::exit(1)
}

fn dispatch(answers: &mut UnixStream, clients: &Clients, heard: &Heard) -> Result<()> {
    while let Some(frame) = Frame::read(answers)? {
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if frame.kind == Kind::Hello {
            bail!("its agent was started again");
        }
        let (number, is_last) = (frame.command, frame.kind.is_last());
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&number) {
            let _ = client.send(frame);
        }
        if is_last {
            clients.remove(&number);
        }
    }
    Ok(())
}

fn watch(port: &Port, heard: &Heard) {
    loop {
        tell(port, &Frame::new(0, Kind::Ping, b""));
        thread::sleep(PING_PAUSE);
        let silence = heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed();
        if silence > SILENCE_LIMIT {
            leave(&format!("the machine has said nothing for {silence:?}"));
        }
    }
}

fn tell(port: &Port, frame: &Frame) {
    let mut port = port.lock().unwrap_or_else(PoisonError::into_inner);
    // That the machine has ended is seen at the other side of this.
    let _ = frame.write(&mut *port);
}

fn serve(number: u32, client: UnixStream, port: &Port, clients: &Clients) -> Result<()> {
    let (sender, frames) = channel();
    let mut all = clients.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(number, sender);
    drop(all);
    let answers = client.try_clone()?;
    thread::spawn(move || answer(answers, &frames));
    let port = Arc::clone(port);
    thread::spawn(move || pass_on(client, number, &port));
    Ok(())
}

fn answer(mut client: UnixStream, frames: &Receiver<Frame>) {
    while let Ok(frame) = frames.recv() {
        if frame.write(&mut client).is_err() {
            return;
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Write);
}

fn pass_on(mut client: UnixStream, number: u32, port: &Port) {
    while let Ok(Some(frame)) = Frame::read(&mut client) {
        tell(
            port,
            &Frame {
                command: number,
                ..frame
            },
        );
    }
    // The caller has gone. Where its command is over, nobody is meant.
    tell(port, &Frame::new(number, Kind::Abandon, b""));
}
