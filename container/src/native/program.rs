//! The program that a container's first process becomes.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use trireme_core::spec::oci;

/// The bits of a mode that let somebody execute the file.
const ANYBODY_EXECUTES: u32 = 0o111;

/// Finds a program in the container's tree as execvp(3) does, and becomes it.
/// The wording of what fails is the one by which Docker tells exit status 127
/// from 126.
#[derive(Clone, Copy, Debug)]
pub struct LinuxProgram;

impl Executor for LinuxProgram {
    fn validate(&self, spec: &oci::Spec) -> Result<(), ExecutorValidationError> {
        find(spec)
            .map(drop)
            .map_err(ExecutorValidationError::ArgValidationError)
    }

    fn exec(&self, spec: &oci::Spec) -> Result<(), ExecutorError> {
        let Program { name, path, args } = find(spec).map_err(ExecutorError::Other)?;
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| ExecutorError::InvalidArg);
        let path = text(path.as_os_str().as_encoded_bytes())?;
        let args = args
            .iter()
            .map(|arg| text(arg.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut argv: Vec<_> = args.iter().map(|arg| arg.as_ptr()).collect();
        argv.push(std::ptr::null());
        // SAFETY: a path and a list of arguments that ends with null, all of
        // them strings that outlive the call.
        unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) };
        let message = format!("exec: \"{name}\": {}", reason(&io::Error::last_os_error()));
        eprintln!("trireme: {message}");
        Err(ExecutorError::Other(message))
    }
}

struct Program<'a> {
    name: &'a str,
    path: PathBuf,
    args: &'a [String],
}

fn find(spec: &oci::Spec) -> Result<Program<'_>, String> {
    let process = spec.process().as_ref();
    let args = process
        .and_then(|process| process.args().as_deref())
        .unwrap_or_default();
    let Some(name) = args.first() else {
        return Err("the container's specification has no process.args".into());
    };
    let failed = |reason: &str| format!("exec: \"{name}\": {reason}");
    if name.contains('/') {
        executable(Path::new(name)).map_err(|error| failed(&reason(&error)))?;
        return Ok(Program {
            name,
            path: PathBuf::from(name),
            args,
        });
    }
    let folders = process
        .and_then(|process| process.env().as_ref())
        .and_then(|env| env.iter().rev().find_map(|var| var.strip_prefix("PATH=")))
        .unwrap_or_default();
    folders
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|path| executable(path).is_ok())
        .map(|path| Program { name, path, args })
        .ok_or_else(|| failed("executable file not found in $PATH"))
}

fn executable(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.permissions().mode() & ANYBODY_EXECUTES == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "is a directory: permission denied".into(),
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => "exec format error".into(),
        _ => error.to_string(),
    }
}
