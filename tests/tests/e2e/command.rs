//! Commands with a limit: what they print is kept, and none outlives its time.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a command may take that nothing else is said of.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What a command did.
#[derive(Clone)]
pub struct Output {
    /// The whole command line.
    pub command: String,
    /// Its exit code, 128 + n where signal n ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Fails with all that was seen unless the code is this one.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.code != code {
            bail!("expected code {code}: {self:?}");
        }
        Ok(self)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` ended with {}\n--- stdout\n{}--- stderr\n{}---",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}

/// A command that runs.
pub struct Running {
    command: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    /// Starts a command with pipes on all three of its descriptors.
    pub fn start(command: &mut Command) -> Result<Self> {
        let words: Vec<_> = command
            .get_args()
            .skip(2)
            .map(|word| word.to_string_lossy())
            .collect();
        let line = words.join(" ");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start `{line}`"))?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: Stream::read(child.stdout.take().context("no stdout")?),
            stderr: Stream::read(child.stderr.take().context("no stderr")?),
            command: line,
            child,
        })
    }

    /// Writes to its stdin.
    pub fn write(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin was closed")?;
        stdin
            .write_all(text.as_bytes())
            .context("write to the command")
    }

    /// Ends its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until its stdout holds a text.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        if self
            .stdout
            .wait_until(Instant::now() + LIMIT, |seen| seen.contains(text))
        {
            return Ok(());
        }
        let seen = self.kill();
        bail!("`{text}` was never printed: {seen:?}")
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// All that it has printed on stdout so far.
    pub fn seen(&self) -> String {
        self.stdout.text()
    }

    /// Waits for its end; at the limit it is killed and that is an error.
    pub fn finish(mut self, limit: Duration) -> Result<Output> {
        let deadline = Instant::now() + limit;
        // Both ends of output come with the end of the command.
        let ended = self.stdout.wait_for_end(deadline) && self.stderr.wait_for_end(deadline);
        if !ended {
            let seen = self.kill();
            bail!("not over after {limit:?}: {seen:?}");
        }
        let status = self.child.wait()?;
        Ok(self.output(status.code().unwrap_or(128 + status.signal().unwrap_or(0))))
    }

    fn kill(&mut self) -> Output {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.output(137)
    }

    fn output(&self, code: i32) -> Output {
        Output {
            command: self.command.clone(),
            code,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was read, and whether that was all.
type Shared = (Mutex<(Vec<u8>, bool)>, Condvar);

/// What one descriptor has given so far.
struct Stream {
    shared: Arc<Shared>,
    _reader: JoinHandle<()>,
}

impl Stream {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new((Vec::new(), false)), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let got = from.read(&mut buffer).unwrap_or(0);
                let mut state = theirs.0.lock().unwrap_or_else(PoisonError::into_inner);
                state.0.extend_from_slice(&buffer[..got]);
                state.1 = got == 0;
                theirs.1.notify_all();
                if got == 0 {
                    return;
                }
            }
        });
        Self {
            shared,
            _reader: reader,
        }
    }

    fn text(&self) -> String {
        let state = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&state.0).into_owned()
    }

    fn wait_for_end(&self, deadline: Instant) -> bool {
        self.wait(deadline, |_, ended| ended)
    }

    fn wait_until(&self, deadline: Instant, mut done: impl FnMut(&str) -> bool) -> bool {
        let mut found = false;
        self.wait(deadline, |text, ended| {
            found = done(text);
            found || ended
        });
        found
    }

    fn wait(&self, deadline: Instant, mut done: impl FnMut(&str, bool) -> bool) -> bool {
        let mut state = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if done(&String::from_utf8_lossy(&state.0), state.1) {
                return true;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            let waited = self.shared.1.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
