//! A container's standard streams.
//!
//! An output FIFO is opened for reading and writing, so that a reader that
//! goes away ends nobody, and handed to init as its own descriptor: nothing
//! copies. A terminal is the exception; the server moves its bytes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FileType, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use trireme_core::plan::TerminalSize;

use crate::{Doing, SysError};

/// Why a stream cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The file cannot be opened.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// A logging binary that cannot be used as asked.
    #[error("{stream} \"{uri}\": {reason}")]
    Binary {
        /// Which stream.
        stream: &'static str,
        /// The address.
        uri: String,
        /// Why not.
        reason: &'static str,
    },
    /// A form of address that is not supported.
    #[error("{stream} \"{uri}\": {scheme}:// is not supported; use a FIFO, file:// or binary://")]
    Scheme {
        /// Which stream.
        stream: &'static str,
        /// The address.
        uri: String,
        /// Its scheme.
        scheme: String,
    },
}

/// The streams of a container without a terminal.
#[derive(Debug)]
pub struct Streams {
    /// Standard input, output and error, for init.
    pub own: [OwnedFd; 3],
    /// Keeps standard input from ending before the client says so (CloseIO).
    pub hold: Option<OwnedFd>,
    /// The outputs that are FIFOs: what a guest wrote before its client opened
    /// the other end would be lost with its last writer.
    pub outputs: Vec<OwnedFd>,
}

impl Streams {
    /// Opens the streams that containerd names; an empty name is `/dev/null`.
    ///
    /// # Errors
    ///
    /// When one cannot be opened.
    pub fn open(stdin: &str, stdout: &str, stderr: &str) -> Result<Self, StdioError> {
        let outputs = [
            open_output("stdout", stdout)?,
            open_output("stderr", stderr)?,
        ];
        Self::with_outputs(stdin, outputs)
    }

    /// The same with outputs that are open.
    ///
    /// # Errors
    ///
    /// As [`Streams::open`].
    pub fn with_outputs(stdin: &str, [stdout, stderr]: [OwnedFd; 2]) -> Result<Self, StdioError> {
        let (input, hold) = open_input(stdin)?;
        let own = [input, stdout, stderr];
        let outputs = own[1..]
            .iter()
            .filter(|fd| is_fifo(fd.as_fd()))
            .map(OwnedFd::try_clone);
        let outputs = outputs
            .collect::<Result<_, _>>()
            .doing(|| "keep the outputs".into())?;
        Ok(Streams { own, hold, outputs })
    }

    /// The streams as descriptors to hand on.
    pub fn borrow(&self) -> [BorrowedFd<'_>; 3] {
        self.own.each_ref().map(AsFd::as_fd)
    }
}

/// A terminal: the server's side and the guest's.
#[derive(Debug)]
pub struct Terminal {
    /// The server's side.
    pub master: OwnedFd,
    /// The guest's side, its standard input, output and error.
    pub slave: OwnedFd,
}

impl Terminal {
    /// A new terminal of the host, not of the container's tree: a Wasm guest
    /// has no devices to open it by.
    ///
    /// # Errors
    ///
    /// When the kernel has none to give.
    pub fn open(size: Option<TerminalSize>) -> Result<Self, SysError> {
        let what = || "open a terminal".to_owned();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).doing(what)?;
        rustix::pty::grantpt(&master).doing(what)?;
        rustix::pty::unlockpt(&master).doing(what)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).doing(what)?;
        if let Some(size) = size {
            resize(master.as_fd(), size)?;
        }
        Ok(Terminal { master, slave })
    }
}

/// Sets a terminal's size.
///
/// # Errors
///
/// The kernel's.
pub fn resize(terminal: BorrowedFd<'_>, size: TerminalSize) -> Result<(), SysError> {
    let size = Winsize {
        ws_row: size.height,
        ws_col: size.width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).doing(|| "resize the terminal".into())
}

/// A FIFO from which the server reads for a terminal. It never ends: the guest
/// sees the end of its input as the character that its terminal is set to.
///
/// # Errors
///
/// When it cannot be opened.
pub fn open_terminal_input(uri: &str) -> Result<Option<File>, StdioError> {
    match address("stdin", uri)? {
        None => Ok(None),
        Some(path) => {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
                .open(&path)
                .doing(|| format!("open stdin {}", path.display()))?;
            Ok(Some(file))
        }
    }
}

/// A FIFO or file to which the server writes for a terminal.
///
/// # Errors
///
/// When it cannot be opened.
pub fn open_terminal_output(uri: &str) -> Result<File, StdioError> {
    to_terminal_output(open_output("stdout", uri)?)
}

/// An open output, as the server writes to it for a terminal.
///
/// # Errors
///
/// The kernel's.
pub fn to_terminal_output(output: OwnedFd) -> Result<File, StdioError> {
    rustix::io::ioctl_fionbio(&output, true).doing(|| "open stdout".into())?;
    Ok(File::from(output))
}

fn open_input(uri: &str) -> Result<(OwnedFd, Option<OwnedFd>), StdioError> {
    let Some(path) = address("stdin", uri)? else {
        return Ok((own_null()?, None));
    };
    let what = || format!("open stdin {}", path.display());
    let input = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .doing(what)?;
    if !input.metadata().doing(what)?.file_type().is_fifo() {
        return Ok((input.into(), None));
    }
    let hold = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .doing(what)?;
    rustix::fs::fcntl_setfl(&input, OFlags::empty()).doing(what)?;
    Ok((input.into(), Some(hold.into())))
}

/// Whether nothing that was written to a FIFO waits to be read.
pub fn is_drained(fifo: BorrowedFd<'_>) -> bool {
    rustix::io::ioctl_fionread(fifo).is_ok_and(|waiting| waiting == 0)
}

fn is_fifo(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

fn open_output(stream: &'static str, uri: &str) -> Result<OwnedFd, StdioError> {
    let Some(path) = address(stream, uri)? else {
        return own_null();
    };
    let mut options = OpenOptions::new();
    let is_log = uri.starts_with("file://");
    if is_log {
        if let Some(folder) = path.parent() {
            let what = || format!("{stream} {uri}: make its folder");
            fs::create_dir_all(folder).doing(what)?;
        }
        options.append(true).create(true).mode(0o644);
    } else {
        options.read(true).write(true);
    }
    let what = || format!("open {stream} {}", path.display());
    let file = options
        // A FIFO that nobody reads is refused where it is to be a log, and not waited for.
        .custom_flags(libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(&path)
        .doing(what)?;
    // The streams may share a file.
    let appends = is_log || file.metadata().doing(what)?.is_file();
    let flags = match appends {
        true => OFlags::APPEND,
        false => OFlags::empty(),
    };
    rustix::fs::fcntl_setfl(&file, flags).doing(what)?;
    Ok(file.into())
}

fn own_null() -> Result<OwnedFd, StdioError> {
    Ok(null().doing(|| "open /dev/null".into())?.into())
}

/// The host's `/dev/null`, for reading and writing.
///
/// # Errors
///
/// When there is none.
pub fn null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

/// Makes a file all three standard streams of this process.
///
/// # Errors
///
/// The kernel's.
pub fn replace(file: impl AsFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(&file)?;
    rustix::stdio::dup2_stdout(&file)?;
    Ok(rustix::stdio::dup2_stderr(&file)?)
}

/// The path of an address, `None` for an empty one.
fn address(stream: &'static str, uri: &str) -> Result<Option<PathBuf>, StdioError> {
    if uri.is_empty() {
        return Ok(None);
    }
    match uri.split_once("://") {
        None => Ok(Some(PathBuf::from(uri))),
        Some(("fifo" | "file", path)) => {
            let path = path.split('?').next().unwrap_or(path);
            Ok(Some(PathBuf::from(decoded(path))))
        }
        Some((scheme, _)) => Err(StdioError::Scheme {
            stream,
            uri: uri.to_owned(),
            scheme: scheme.to_owned(),
        }),
    }
}

/// A part of an address without its percent encoding (RFC 3986, section 2.1). What
/// is no encoding stays as it is.
pub(crate) fn decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn fifo(dir: &tempfile::TempDir, name: &str) -> String {
        let path = dir.path().join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn input_ends_when_writer_and_hold_are_gone_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir, "in");
        let streams = Streams::open(&path, "", "").unwrap();
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"hello").unwrap();
        drop(writer);
        let [input, _, _] = streams.own;
        let mut input = File::from(input);
        let mut bytes = [0; 5];
        input.read_exact(&mut bytes).unwrap();
        rustix::io::ioctl_fionbio(&input, true).unwrap();
        assert_eq!(
            input.read(&mut bytes).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(streams.hold);
        assert_eq!(input.read(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn output_without_a_reader_waits_in_the_fifo() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir, "out");
        let streams = Streams::open("", &path, "").unwrap();
        let [_, output, _] = streams.own;
        let mut output = File::from(output);
        output.write_all(b"early").unwrap();
        let mut reader = OpenOptions::new().read(true).open(&path).unwrap();
        let mut bytes = [0; 5];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"early");
    }

    #[test]
    fn streams_that_share_a_file_append_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("both");
        fs::write(&path, "before ").unwrap();
        let path = path.to_str().unwrap();
        let streams = Streams::open("", path, path).unwrap();
        let [_, output, error] = streams.own.map(File::from);
        for (mut stream, word) in [(&output, "one "), (&error, "two "), (&output, "three")] {
            stream.write_all(word.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), "before one two three");
    }

    #[test]
    fn a_log_that_nobody_reads_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let uri = format!("file://{}", fifo(&dir, "log"));
        let refused = Streams::open("", &uri, "").map(drop).unwrap_err();
        assert!(refused.to_string().contains("log"), "{refused}");
    }

    #[test]
    fn a_file_is_appended_to_and_made_with_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("new folder/log");
        let uri = format!("file://{}/new%20folder/log", dir.path().display());
        for word in ["one", "two"] {
            let [_, output, _] = Streams::open("", &uri, "").unwrap().own;
            File::from(output).write_all(word.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(log).unwrap(), "onetwo");
        let error = Streams::open("", "syslog://host", "")
            .unwrap_err()
            .to_string();
        assert!(error.contains("syslog://"), "{error}");
    }
}
