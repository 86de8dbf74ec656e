//! A connection to systemd: over the system's bus, or its own socket where no bus
//! is running.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Property;
use super::wire::{Call, Message, PREFIX, Writer, rest_of};

const BUS: &str = "/run/dbus/system_bus_socket";
const OWN: &str = "/run/systemd/private";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why systemd does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("is systemd running on this host? {BUS}: {0}; {OWN}: {1}")]
    NotThere(io::Error, io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{text} ({name})")]
    Refused { name: String, text: String },
}

impl BusError {
    /// Whether it is systemd's error of this name.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { name, .. }
            if name.strip_prefix("org.freedesktop.systemd1.") == Some(wanted))
    }
}

/// A connection.
pub struct Bus {
    stream: UnixStream,
    serial: u32,
}

impl Bus {
    /// Connects to the system's bus, else to systemd.
    pub fn connect() -> Result<Self, BusError> {
        let first = match Self::open(BUS).and_then(Self::greet) {
            Ok(bus) => return Ok(bus),
            Err(error) => error,
        };
        Self::open(OWN).map_err(|second| BusError::NotThere(first, second))
    }

    /// Connects and says who this is ("Authentication Protocol").
    fn open(address: &str) -> io::Result<Self> {
        let stream = UnixStream::connect(address)?;
        let mut bus = Self { stream, serial: 0 };
        bus.set_patience(PATIENCE)?;
        let stream = &mut bus.stream;
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let answer = line(stream)?;
        if !answer.starts_with("OK") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, answer));
        }
        stream.write_all(b"BEGIN\r\n")?;
        Ok(bus)
    }

    fn greet(mut self) -> io::Result<Self> {
        let hello = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            signature: "",
            body: Vec::new(),
        };
        self.call(&hello).map_err(io::Error::other)?;
        Ok(self)
    }

    /// Makes a transient scope.
    pub fn start_scope(&mut self, unit: &str, properties: &[Property]) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        body.properties(properties);
        // No other units.
        body.array(8, |_| {});
        self.manager("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
    }

    /// Changes properties of a unit until the next boot.
    pub fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.truth(true);
        body.properties(properties);
        self.manager("SetUnitProperties", "sba(sv)", body)
    }

    /// Waits until the cgroup of a unit is as systemd wants it: that answers a call before it writes
    /// to cgroups, and does so before it takes the next (`manager_loop` in its `manager.c`).
    pub fn settle(&mut self, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        self.manager("GetUnit", "s", body)
    }

    /// How long each answer may take from here on.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        self.stream.set_write_timeout(Some(patience))
    }

    /// Stops a unit.
    pub fn stop(&mut self, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        self.manager("StopUnit", "ss", body)
    }

    /// Forgets that a unit has failed.
    pub fn reset_failed(&mut self, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        self.manager("ResetFailedUnit", "s", body)
    }

    fn manager(&mut self, member: &str, signature: &str, body: Writer) -> Result<(), BusError> {
        self.call(&Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
            signature,
            body: body.into_bytes(),
        })
    }

    fn call(&mut self, call: &Call<'_>) -> Result<(), BusError> {
        self.serial += 1;
        self.stream.write_all(&call.message(self.serial))?;
        loop {
            let message = self.receive()?;
            if message.answers != Some(self.serial) {
                continue;
            }
            return match message.error {
                None => Ok(()),
                Some(name) => Err(BusError::Refused {
                    name,
                    text: message.text,
                }),
            };
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "this is no message of D-Bus");
        let mut prefix = [0; PREFIX];
        self.stream.read_exact(&mut prefix)?;
        let mut bytes = vec![0; rest_of(&prefix).ok_or_else(strange)?];
        self.stream.read_exact(&mut bytes)?;
        Message::parse(&[&prefix[..], &bytes].concat()).ok_or_else(strange)
    }
}

fn line(stream: &mut UnixStream) -> io::Result<String> {
    const LONGEST: usize = 1024;
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && line.len() < LONGEST {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}
