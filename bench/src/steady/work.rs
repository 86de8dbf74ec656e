//! What programs do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long a server may take until it listens.
const READY: Duration = Duration::from_secs(20);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Connections that are made to a server, one after the other.
const CONNECTIONS: u32 = 10_000;

/// A program and what it is to do.
pub struct Work {
    /// A short name.
    pub id: &'static str,
    /// What it does.
    pub title: &'static str,
    /// The image that holds its program.
    pub image: &'static str,
    /// The program's file in it.
    pub file: &'static str,
    /// What is told to it.
    task: Task,
}

enum Task {
    /// A script of Python's, which has the folder `/work`.
    Python(&'static str),
    /// A server that answers [`CONNECTIONS`] lines.
    Serve,
}

/// All of them.
pub const WORKS: [Work; 3] = [
    Work {
        id: "processor",
        title: "CPython counts",
        image: PYTHON_IMAGE,
        file: PYTHON,
        task: Task::Python(
            "x = 0\nfor i in range(2000000):\n    x = (x * 31 + i) % 1000003\nprint(x)",
        ),
    },
    Work {
        id: "files",
        title: "CPython writes, reads and looks up files",
        image: PYTHON_IMAGE,
        file: PYTHON,
        task: Task::Python(
            "import os\nblock = b'x' * 4096\nfor i in range(6000):\n    name = '/work/%d' % (i % 50)\n    \
             with open(name, 'wb', 0) as f:\n        f.write(block)\n    \
             with open(name, 'rb', 0) as f:\n        f.read()\n    os.stat(name)\n\
             for i in range(50):\n    os.remove('/work/%d' % i)",
        ),
    },
    Work {
        id: "sockets",
        title: "a component answers 10 000 connections of TCP",
        image: "trireme.test/guests:latest",
        file: "talk.wasm",
        task: Task::Serve,
    },
];

const PYTHON_IMAGE: &str = "trireme.test/python:latest";
const PYTHON: &str = "python.wasm";

/// One time that a work is done.
pub struct Session {
    /// The program's arguments, its own name the first.
    pub arguments: Vec<String>,
    port: Option<u16>,
}

impl Work {
    /// Prepares a session.
    ///
    /// # Errors
    ///
    /// When there is no port for a server.
    pub fn session(&self) -> Result<Session> {
        let mut arguments = vec![format!("/{}", self.file)];
        let mut session_port = None;
        match self.task {
            Task::Python(script) => arguments.extend(["-c".to_owned(), script.to_owned()]),
            Task::Serve => {
                let port = free_port()?;
                session_port = Some(port);
                // The first connection is the one that finds it ready.
                let count = CONNECTIONS + 1;
                arguments.extend(["serve".to_owned(), port.to_string(), count.to_string()]);
            }
        }
        Ok(Session {
            arguments,
            port: session_port,
        })
    }
}

impl Session {
    /// Does what the outside has to do while the program runs.
    ///
    /// # Errors
    ///
    /// When a server does not listen or does not answer.
    pub fn attend(&self) -> Result<()> {
        let Some(port) = self.port else {
            return Ok(());
        };
        let deadline = Instant::now() + READY;
        let mut first = loop {
            match connect(port) {
                Ok(connection) => break connection,
                Err(error) => ensure!(Instant::now() < deadline, "port {port}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        talk(&mut first)?;
        for number in 0..CONNECTIONS {
            let mut connection = connect(port).with_context(|| format!("connection {number}"))?;
            talk(&mut connection).with_context(|| format!("connection {number}"))?;
        }
        Ok(())
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connection = TcpStream::connect_timeout(&address, ANSWER)?;
    connection.set_read_timeout(Some(ANSWER))?;
    Ok(connection)
}

fn talk(connection: &mut TcpStream) -> Result<()> {
    connection.write_all(b"ahoy\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    ensure!(answer == "aye, ahoy\n", "it answered {answer:?}");
    Ok(())
}
