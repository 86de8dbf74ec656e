//! Logging binaries: programs of the host that take a process's output, named
//! `binary:///path?key=value`.
//!
//! As containerd's runc shim has them (`NewBinaryIO` in
//! `cmd/containerd-shim-runc-v2/process/io.go`, `core/runtime/v2/logging`): the
//! query's keys and values are the arguments, `CONTAINER_ID` and
//! `CONTAINER_NAMESPACE` the environment; descriptors 3 and 4 are output and
//! error, and 5 is closed when the program is ready, after a byte.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::pipe::PipeFlags;

use crate::process::Child;
use crate::stdio::{StdioError, decoded};
use crate::{Doing, SysError, open_files};

/// The descriptors that a logging binary finds: output, error, and what it says
/// that it is ready by.
const FDS: [RawFd; 3] = [3, 4, 5];
/// Above the numbers that it finds its own at.
const FLOOR: RawFd = 10;

/// A logging binary that an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Whether it has to send a byte when it is ready. Older ones only close the
    /// descriptor.
    pub sends: bool,
}

/// A logging binary that has been started.
#[derive(Debug)]
pub struct Started {
    /// Its process.
    pub child: Child,
    /// Standard output and error of whose output it takes.
    pub outputs: [OwnedFd; 2],
    /// Where it says that it is ready.
    pub ready: OwnedFd,
}

impl Binary {
    /// The one that takes the outputs of these addresses, if one does.
    ///
    /// # Errors
    ///
    /// For an address without an absolute path, and where only one of the outputs
    /// is to go there.
    pub fn of(stdout: &str, stderr: &str) -> Result<Option<Self>, StdioError> {
        let named = |uri: &str| {
            let (scheme, rest) = uri.split_once("://")?;
            let sends = match scheme {
                "binary" => false,
                "binary-v2" => true,
                _ => return None,
            };
            Some((sends, rest.to_owned()))
        };
        let refused = |stream, uri: &str, reason| StdioError::Binary {
            stream,
            uri: uri.to_owned(),
            reason,
        };
        let Some((sends, rest)) = named(stdout) else {
            return match named(stderr) {
                Some(_) => Err(refused(
                    "stderr",
                    stderr,
                    "a logging binary takes both outputs; give stdout the same address",
                )),
                None => Ok(None),
            };
        };
        if !stderr.is_empty() && stderr != stdout {
            return Err(refused(
                "stderr",
                stderr,
                "the logging binary of stdout takes both outputs; give stderr the same address",
            ));
        }
        let (path, query) = rest.split_once('?').unwrap_or((&rest, ""));
        if !path.starts_with('/') {
            return Err(refused(
                "stdout",
                stdout,
                "the path of a logging binary is absolute, as in binary:///usr/bin/logger",
            ));
        }
        Ok(Some(Binary {
            path: decoded(path).into(),
            args: arguments(query),
            sends,
        }))
    }

    /// Starts it for a process of this id.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, id: &str, namespace: &str) -> Result<Started, SysError> {
        let what = || format!("start the logging binary {}", self.path.display());
        let (out, to_out) = pipe().doing(what)?;
        let (err, to_err) = pipe().doing(what)?;
        let (ready, to_ready) = pipe().doing(what)?;
        let theirs = [out, err, to_ready];
        let numbers = theirs.each_ref().map(AsRawFd::as_raw_fd);
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .env_clear()
            .env("CONTAINER_ID", id)
            .env("CONTAINER_NAMESPACE", namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: between fork and exec the closure calls dup2, on numbers that are above those
        // that it fills, and setrlimit.
        unsafe {
            command.pre_exec(move || {
                open_files::restore();
                for (from, to) in numbers.iter().zip(FDS) {
                    if libc::dup2(*from, to) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let child = command.spawn().doing(what)?;
        Ok(Started {
            child: Child::of(child.id().cast_signed()).doing(what)?,
            outputs: [to_out, to_err],
            ready,
        })
    }
}

/// A pipe whose reading and writing end are high enough.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((high(&read)?, high(&write)?))
}

fn high(fd: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, FLOOR)?)
}

/// Keys and values of a query, each key once with its first value, as Go's
/// `url.Query` has them; but in their order, which that does not keep.
fn arguments(query: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut args = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let [key, value] = [key, value].map(|text| decoded(&text.replace('+', " ")));
        if !seen.contains(&key) {
            seen.push(key.clone());
            args.extend([key, value]);
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    fn of(stdout: &str, stderr: &str) -> Option<Binary> {
        Binary::of(stdout, stderr).unwrap()
    }

    #[test]
    fn an_address_names_program_and_arguments() {
        let uri = "binary:///usr/bin/my%20logger?tag=a+b%26c&flag&tag=no";
        let binary = of(uri, uri).unwrap();
        assert_eq!(binary.path, PathBuf::from("/usr/bin/my logger"));
        assert_eq!(binary.args, ["tag", "a b&c", "flag", ""]);
        assert!(!binary.sends && of("binary-v2:///x", "").unwrap().sends);
        assert!(of("/run/fifo", "").is_none() && of("", "file:///x").is_none());
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for (stdout, stderr) in [
            ("binary://x/y", ""),
            ("binary:///x", "binary:///y"),
            ("/run/fifo", "binary:///x"),
        ] {
            let error = Binary::of(stdout, stderr).unwrap_err().to_string();
            assert!(error.contains("binary://"), "{error}");
        }
    }

    #[test]
    fn a_binary_reads_what_is_written_and_says_when_it_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = format!(
            "printf x >&5; exec 5>&-; cat <&3 > {0}; cat <&4 >> {0}; env >> {0}",
            log.display()
        );
        let binary = Binary {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script],
            sends: true,
        };
        let started = binary.start("one", "some").unwrap();
        let mut said = Vec::new();
        File::from(started.ready).read_to_end(&mut said).unwrap();
        assert_eq!(said, b"x");
        for (output, text) in started.outputs.into_iter().zip(["out\n", "err\n"]) {
            File::from(output).write_all(text.as_bytes()).unwrap();
        }
        let pidfd = rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&started.child.pidfd));
        rustix::process::waitid(pidfd, rustix::process::WaitIdOptions::EXITED).unwrap();
        let text = std::fs::read_to_string(log).unwrap();
        assert!(text.starts_with("out\nerr\n"), "{text}");
        assert!(text.contains("CONTAINER_ID=one\n"), "{text}");
        assert!(text.contains("CONTAINER_NAMESPACE=some\n"), "{text}");
    }

    #[test]
    fn a_binary_that_is_not_there_is_not_started() {
        let binary = of("binary:///nonexistent/logger", "").unwrap();
        let error = binary.start("one", "some").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/logger"), "{error}");
    }
}
