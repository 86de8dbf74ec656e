//! What a case has in hand: the adapter, and guests to try it on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::Words;
use super::process::{Answer, End, GuestRequest, REQUEST, Request, Task};
use crate::{Adapter, Info, Kind, Limits, SettingValue};

/// How long to wait for a child, which ends itself before that.
const DEADLINE: Duration = Duration::from_secs(60);

/// The adapter under test.
pub(super) struct Subject {
    adapter: &'static dyn Adapter,
    settings: Words,
}

impl Subject {
    pub(super) fn new(adapter: &'static dyn Adapter, settings: Words) -> Self {
        Subject { adapter, settings }
    }

    pub(super) fn info(&self) -> &'static Info {
        self.adapter.info()
    }

    /// A trial of these bytes.
    pub(super) fn wasm(&self, kind: Kind, wasm: impl Into<Vec<u8>>) -> Trial {
        Trial {
            kind,
            wasm: wasm.into(),
            settings: (self.settings.iter())
                .map(|(key, word)| ((*key).to_owned(), SettingValue::Text((*word).to_owned())))
                .collect(),
            limits: Limits::default(),
            entry: None,
            guest: GuestRequest {
                args: vec!["guest".into()],
                ..GuestRequest::default()
            },
            stdin: Vec::new(),
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// A trial of a module that is written on top of the prelude.
    pub(super) fn guest(&self, fields: &str) -> Trial {
        let text = format!(
            "(module\n{}\n{fields}\n)",
            include_str!("guests/prelude.wat")
        );
        self.text(Kind::Module, &text)
    }

    /// A trial of a module or component in the text format.
    pub(super) fn text(&self, kind: Kind, text: &str) -> Trial {
        self.wasm(
            kind,
            wat::parse_str(text).unwrap_or_else(|error| panic!("{error}")),
        )
    }
}

/// A program, an engine's settings and a guest; the engine lives in children.
pub(super) struct Trial {
    kind: Kind,
    pub(super) wasm: Vec<u8>,
    settings: BTreeMap<String, SettingValue>,
    limits: Limits,
    entry: Option<String>,
    guest: GuestRequest,
    stdin: Vec<u8>,
    dir: TempDir,
}

/// How a guest ended and what it wrote.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) end: End,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) status: ExitStatus,
    pub(super) threads: usize,
    pub(super) moved: bool,
}

impl Ran {
    /// Stdout of a guest that must have ended with 0.
    pub(super) fn output(self) -> String {
        assert_eq!(self.end, End::Exit(0), "{self:?}");
        String::from_utf8(self.stdout).expect("text on stdout")
    }
}

impl Trial {
    pub(super) fn setting(mut self, key: &str, value: SettingValue) -> Self {
        self.settings.insert(key.into(), value);
        self
    }

    pub(super) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(super) fn entry(mut self, name: &str) -> Self {
        self.entry = Some(name.into());
        self
    }

    pub(super) fn arg(mut self, arg: &str) -> Self {
        self.guest.args.push(arg.into());
        self
    }

    pub(super) fn env(mut self, key: &str, value: &str) -> Self {
        self.guest.env.push((key.into(), value.into()));
        self
    }

    pub(super) fn directory(mut self, path: &Path, name: &str, writable: bool) -> Self {
        self.guest
            .directories
            .push((path.into(), name.into(), writable));
        self
    }

    pub(super) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Creates the engine and nothing else.
    pub(super) fn create(&self) -> End {
        self.finish(self.start(Task::Create)).end
    }

    pub(super) fn accepts(&self) -> End {
        let task = Task::Accepts {
            wasm: self.wasm_file(),
            kind: self.kind,
        };
        self.finish(self.start(task)).end
    }

    /// Compiles into [`Trial::code_file`].
    pub(super) fn compile(&self) -> End {
        let task = Task::Compile {
            wasm: self.wasm_file(),
            kind: self.kind,
            to: self.code_file(),
        };
        self.finish(self.start(task)).end
    }

    pub(super) fn code_file(&self) -> PathBuf {
        self.dir.path().join("code")
    }

    /// Compiles, loads and runs.
    pub(super) fn run(&self) -> Ran {
        assert_eq!(self.compile(), End::Done, "compilation");
        self.run_compiled()
    }

    /// Loads and runs what stands in [`Trial::code_file`].
    pub(super) fn run_compiled(&self) -> Ran {
        self.finish(self.launch())
    }

    /// Starts a guest that is already compiled; the caller ends it.
    pub(super) fn launch(&self) -> Child {
        self.start(Task::Run {
            code: self.code_file(),
            kind: self.kind,
            entry: self.entry.clone(),
            guest: self.guest.clone(),
        })
    }

    fn wasm_file(&self) -> PathBuf {
        let path = self.dir.path().join("wasm");
        fs::write(&path, &self.wasm).expect("the wasm is written");
        path
    }

    fn answer_file(&self) -> PathBuf {
        self.dir.path().join("answer")
    }

    fn start(&self, task: Task) -> Child {
        let request = Request {
            settings: self.settings.clone(),
            limits: self.limits,
            task,
            answer: self.answer_file(),
        };
        let path = self.dir.path().join("request");
        let file = File::create(&path).expect("the request is made");
        serde_json::to_writer(file, &request).expect("the request is written");
        let _ = fs::remove_file(self.answer_file());
        Command::new(std::env::current_exe().expect("the path of this program"))
            .env_clear()
            .env(REQUEST, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child")
    }

    /// Feeds the child, reads all that it writes, and its answer.
    fn finish(&self, mut child: Child) -> Ran {
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = self.stdin.clone();
        // A guest need not read what it is given.
        thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = collect(child.stdout.take().expect("a pipe"));
        let stderr = collect(child.stderr.take().expect("a pipe"));
        let outputs = (stdout.recv_timeout(DEADLINE), stderr.recv_timeout(DEADLINE));
        let (Ok(stdout), Ok(stderr)) = outputs else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the child did not end within {DEADLINE:?}");
        };
        let status = child.wait().expect("the child's status");
        let answer: Answer = fs::read(self.answer_file())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_else(|| {
                panic!(
                    "no answer, {status}; stderr: {}",
                    String::from_utf8_lossy(&stderr)
                )
            });
        Ran {
            end: answer.end,
            threads: answer.threads,
            moved: answer.moved,
            stdout,
            stderr,
            status,
        }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}
