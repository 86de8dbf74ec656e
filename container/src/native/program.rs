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
        Program::of(spec.process().as_ref())
            .map(drop)
            .map_err(ExecutorValidationError::ArgValidationError)
    }

    fn exec(&self, spec: &oci::Spec) -> Result<(), ExecutorError> {
        let program = Program::of(spec.process().as_ref()).map_err(ExecutorError::Other)?;
        let environment: Vec<_> = std::env::vars_os()
            .map(|(name, value)| {
                let mut variable = name.into_encoded_bytes();
                variable.push(b'=');
                variable.extend(value.into_encoded_bytes());
                variable
            })
            .collect();
        Err(ExecutorError::Other(program.execute(environment)))
    }
}

/// A program that was found.
pub struct Program<'a> {
    name: &'a str,
    path: PathBuf,
    args: &'a [String],
}

impl<'a> Program<'a> {
    /// Finds the program of a process below this process's root.
    pub fn of(process: Option<&'a oci::Process>) -> Result<Self, String> {
        let args = process
            .and_then(|process| process.args().as_deref())
            .unwrap_or_default();
        let Some(name) = args.first() else {
            return Err("the container's specification has no process.args".into());
        };
        let failed = |reason: &str| format!("exec: \"{name}\": {reason}");
        if name.contains('/') {
            executable(Path::new(name)).map_err(|error| failed(&reason(&error)))?;
            let path = PathBuf::from(name);
            return Ok(Program { name, path, args });
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

    /// Becomes the program. Returns only the reason why it cannot.
    pub fn execute(&self, environment: Vec<Vec<u8>>) -> String {
        let failed = |reason: &str| format!("exec: \"{}\": {reason}", self.name);
        let path = CString::new(self.path.as_os_str().as_encoded_bytes());
        let args = self.args.iter().map(|arg| CString::new(arg.as_bytes()));
        let (Ok(path), Ok(args), Ok(environment)) = (
            path,
            args.collect::<Result<Vec<_>, _>>(),
            environment
                .into_iter()
                .map(CString::new)
                .collect::<Result<Vec<_>, _>>(),
        ) else {
            return failed("a zero byte in its arguments or environment");
        };
        let list = |strings: &[CString]| -> Vec<_> {
            let pointers = strings.iter().map(|string| string.as_ptr());
            pointers.chain([std::ptr::null()]).collect()
        };
        let (argv, envp) = (list(&args), list(&environment));
        // SAFETY: a path and two lists that end with null, of strings that
        // outlive the call.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        failed(&reason(&io::Error::last_os_error()))
    }
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
