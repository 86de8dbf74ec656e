//! The server: one thread, one connection at a time, one task.

use std::fs::File;
use std::io::{Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::frame::{self, Request};
use crate::wire::{Message, find};

/// `containerd.v1.types.Status`.
const CREATED: u64 = 1;
const STOPPED: u64 = 3;

/// Serves until Shutdown. With `sleeps`, the task goes on until it is killed.
pub fn serve(listener: &UnixListener, sleeps: bool) -> Result<()> {
    let mut task = Task {
        sleeps,
        ..Task::default()
    };
    loop {
        let (mut stream, _) = listener.accept()?;
        while let Some(request) = frame::read(&mut stream) {
            if task.answer(&mut stream, &request)? {
                return Ok(());
            }
        }
        // Whoever waited has gone with the connection.
        task.waiting.clear();
    }
}

#[derive(Default)]
struct Task {
    sleeps: bool,
    child: Option<(Pid, UnixStream)>,
    pid: u64,
    exited: Option<Duration>,
    id: Vec<u8>,
    bundle: Vec<u8>,
    waiting: Vec<u32>,
}

impl Task {
    /// Answers one call and tells whether it was the last.
    fn answer(&mut self, stream: &mut UnixStream, request: &Request) -> Result<bool> {
        let answer = match request.method.as_str() {
            "Create" => self.create(&request.payload)?,
            "Start" => {
                frame::write(
                    stream,
                    request.stream,
                    Message::default().integer(1, self.pid),
                )?;
                if !self.sleeps {
                    self.end()?;
                }
                return self.answer_waiting(stream).map(|()| false);
            }
            "Wait" if self.exited.is_none() => {
                self.waiting.push(request.stream);
                return Ok(false);
            }
            "Wait" => self.exit_status(1),
            "State" => self.state(),
            "Connect" => Message::default()
                .integer(1, process::id().into())
                .integer(2, self.pid),
            "Kill" => {
                self.end()?;
                self.answer_waiting(stream)?;
                Message::default()
            }
            "Delete" => {
                self.end()?;
                let exit = self.exit_status(2);
                Message(
                    Message::default()
                        .integer(1, self.pid)
                        .0
                        .into_iter()
                        .chain(exit.0)
                        .collect(),
                )
            }
            _ => Message::default(),
        };
        frame::write(stream, request.stream, answer)?;
        Ok(request.method == "Shutdown")
    }

    fn create(&mut self, payload: &[u8]) -> Result<Message> {
        let field = |number| find(payload, number).unwrap_or_default().to_vec();
        (self.id, self.bundle) = (field(1), field(2));
        let (ours, theirs) = UnixStream::pair()?;
        // SAFETY: this process has one thread, so that the child may do anything.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop(ours);
                let _held = [field(6), field(7)].map(|path| open_output(&path));
                let _ = (&theirs).read(&mut [0]);
                process::exit(0);
            }
            ForkResult::Parent { child } => {
                self.pid = child.as_raw() as u64;
                self.child = Some((child, ours));
            }
        }
        Ok(Message::default().integer(1, self.pid))
    }

    /// Lets the child exit, and waits for that.
    fn end(&mut self) -> Result<()> {
        if let Some((pid, mut door)) = self.child.take() {
            door.write_all(&[0])?;
            waitpid(pid, None)?;
            self.exited = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        }
        Ok(())
    }

    fn answer_waiting(&mut self, stream: &mut UnixStream) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        for number in std::mem::take(&mut self.waiting) {
            frame::write(stream, number, self.exit_status(1))?;
        }
        Ok(())
    }

    /// The exit status 0, as which proto3 has the field left out, and the time behind it.
    fn exit_status(&self, field: u32) -> Message {
        Message::default().bytes(field + 1, &self.exited_at().0)
    }

    fn exited_at(&self) -> Message {
        let time = self.exited.unwrap_or_default();
        Message::default()
            .integer(1, time.as_secs())
            .integer(2, time.subsec_nanos().into())
    }

    fn state(&self) -> Message {
        let message = Message::default()
            .bytes(1, &self.id)
            .bytes(2, &self.bundle)
            .integer(3, self.pid)
            .integer(
                4,
                if self.exited.is_some() {
                    STOPPED
                } else {
                    CREATED
                },
            );
        match self.exited {
            Some(_) => message.bytes(10, &self.exited_at().0),
            None => message,
        }
    }
}

/// A FIFO opened for both directions does not wait for its other end.
fn open_output(path: &[u8]) -> Option<File> {
    let path = std::str::from_utf8(path)
        .ok()
        .filter(|path| !path.is_empty())?;
    File::options().read(true).write(true).open(path).ok()
}
