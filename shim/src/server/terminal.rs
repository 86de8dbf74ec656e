//! The terminal of a container: bytes between the client's FIFOs and the
//! server's side of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use trireme_container::stdio;

use super::error::ServiceError;
use super::ready;

/// How long a client that does not read may hold up the news of a container's end.
const PATIENCE: Duration = Duration::from_secs(2);
/// And how long its deletion, as with runc's shim (`Delete` in
/// `cmd/containerd-shim-runc-v2/process/init.go` of containerd). What it has not read then is lost.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// The server's side of a terminal, and the tasks that move its bytes.
pub struct Terminal {
    master: Arc<AsyncFd<OwnedFd>>,
    /// Told when the guest has ended and no more output can come.
    last: Arc<Notify>,
    done: watch::Receiver<bool>,
    pumps: Vec<AbortHandle>,
}

impl Drop for Terminal {
    /// A client that takes no output must not keep the server's descriptors.
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The client's ends of a terminal's streams, of which nothing is moved yet.
pub(super) struct Client {
    input: Option<File>,
    output: File,
}

impl Client {
    /// Opens them by the names that the client gave.
    pub fn open(stdin: &str, stdout: &str) -> Result<Self, ServiceError> {
        Ok(Client {
            input: stdio::open_terminal_input(stdin)?,
            output: stdio::open_terminal_output(stdout)?,
        })
    }

    /// Opens the input alone: the output is open.
    pub fn with_output(stdin: &str, output: OwnedFd) -> Result<Self, ServiceError> {
        Ok(Client {
            input: stdio::open_terminal_input(stdin)?,
            output: stdio::to_terminal_output(output)?,
        })
    }
}

impl Terminal {
    /// Starts moving bytes between the client and the server's side.
    pub fn new(master: OwnedFd, client: Client) -> Result<Self, ServiceError> {
        let failed = |error: io::Error| ServiceError::Setup(format!("the terminal: {error}"));
        let Client { input, output } = client;
        rustix::io::ioctl_fionbio(&master, true).map_err(|errno| failed(errno.into()))?;
        let master = Arc::new(ready::of(master).map_err(failed)?);
        let last = Arc::new(Notify::new());
        let (finished, done) = watch::channel(false);
        let pump = pump_output(master.clone(), output, last.clone(), finished);
        let mut pumps = vec![tokio::spawn(pump).abort_handle()];
        if let Some(input) = input {
            let input = ready::of(input).map_err(failed)?;
            let pump = pump_input(input, master.clone(), done.clone());
            pumps.push(tokio::spawn(pump).abort_handle());
        }
        Ok(Terminal {
            master,
            last,
            done,
            pumps,
        })
    }

    /// The server's side.
    pub fn master(&self) -> BorrowedFd<'_> {
        self.master.get_ref().as_fd()
    }

    /// Called when the guest has ended: moves the rest of its output, for as long as the news of
    /// that can wait.
    pub async fn drain(&self) {
        self.last.notify_one();
        self.is_moved(PATIENCE).await;
    }

    /// Waits until the output has been moved, or nobody takes it.
    pub async fn finished(&self) {
        if !self.is_moved(LAST_PATIENCE).await {
            self.abandon();
        }
    }

    async fn is_moved(&self, patience: Duration) -> bool {
        let mut done = self.done.clone();
        let moved = done.wait_for(|done| *done);
        tokio::time::timeout(patience, moved).await.is_ok()
    }

    fn abandon(&self) {
        self.pumps.iter().for_each(AbortHandle::abort);
    }
}

/// Until the guest's side is closed: the kernel says EIO then, or there is
/// nothing more after the guest's end.
async fn pump_output(
    master: Arc<AsyncFd<OwnedFd>>,
    output: File,
    last: Arc<Notify>,
    finished: watch::Sender<bool>,
) {
    let moving = async {
        let mut buffer = vec![0; 16 << 10];
        // A file is always ready and cannot be waited for.
        let waiting = ready::of(output.try_clone()?).ok();
        loop {
            let n = read(&master, &mut buffer, &last).await?;
            if n == 0 {
                return Ok::<_, io::Error>(());
            }
            write_all(&output, waiting.as_ref(), &buffer[..n]).await?;
        }
    };
    let _ = moving.await;
    drop(output);
    let _ = finished.send(true);
}

async fn read(master: &AsyncFd<OwnedFd>, buffer: &mut [u8], last: &Notify) -> io::Result<usize> {
    loop {
        let mut ready = tokio::select! {
            biased;
            ready = master.readable() => ready?,
            () = last.notified() => {
                // Keep the news for the next look, when this one has moved bytes.
                last.notify_one();
                return match rustix::io::read(master.get_ref(), buffer) {
                    Ok(n) => Ok(n),
                    Err(_) => Ok(0),
                };
            }
        };
        match rustix::io::read(master.get_ref(), &mut *buffer) {
            Ok(n) => return Ok(n),
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn write_all(
    mut output: &File,
    waiting: Option<&AsyncFd<File>>,
    mut bytes: &[u8],
) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let Some(waiting) = waiting else {
                    return Err(error);
                };
                let mut ready = waiting.writable().await?;
                ready.clear_ready();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn pump_input(
    input: AsyncFd<File>,
    master: Arc<AsyncFd<OwnedFd>>,
    mut done: watch::Receiver<bool>,
) {
    let moving = async {
        let mut buffer = vec![0; 4 << 10];
        loop {
            let mut ready = input.readable().await?;
            let n = match input.get_ref().read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut bytes = &buffer[..n];
            while !bytes.is_empty() {
                match rustix::io::write(master.get_ref(), bytes) {
                    Ok(n) => bytes = &bytes[n..],
                    Err(rustix::io::Errno::AGAIN) => {
                        let mut ready = master.writable().await?;
                        ready.clear_ready();
                    }
                    Err(error) => return Err::<(), io::Error>(error.into()),
                }
            }
        }
    };
    tokio::select! {
        _ = moving => {}
        _ = done.wait_for(|done| *done) => {}
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[tokio::test]
    async fn a_reader_that_stands_still_for_a_while_loses_nothing() {
        // More than the FIFO holds, and less than the terminal does beside.
        const HELD: usize = 4096;
        const LENGTH: usize = 6000;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let client = Client::open("", path.to_str().unwrap()).unwrap();
        let mut reader = File::open(&path).unwrap();
        rustix::pipe::fcntl_setpipe_size(&reader, HELD).unwrap();
        let stdio::Terminal { master, slave } = stdio::Terminal::open(None).unwrap();
        let terminal = Terminal::new(master, client).unwrap();
        let guest = move || File::from(slave).write_all(&[b'x'; LENGTH]);
        tokio::task::spawn_blocking(guest).await.unwrap().unwrap();
        terminal.drain().await;
        assert!(!*terminal.done.borrow(), "it has all been taken");
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = [0; LENGTH];
            reader.read_exact(&mut bytes).map(|()| bytes)
        });
        terminal.finished().await;
        assert!(
            read.await
                .unwrap()
                .unwrap()
                .iter()
                .all(|byte| *byte == b'x')
        );
        assert!(*terminal.done.borrow());
    }
}
