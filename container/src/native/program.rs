//! The program that a container's first process becomes.

use std::cell::Cell;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use trireme_core::spec::oci;

use super::order::Confinement;
use crate::init::{credentials, not_dumpable};

/// The bits of a mode that let somebody execute the file.
const ANYBODY_EXECUTES: u32 = 0o111;

/// Finds a program in the container's tree as execvp(3) does, and becomes it.
/// The wording of what fails is the one by which Docker tells exit status 127
/// from 126.
#[derive(Clone, Debug)]
pub struct LinuxProgram {
    /// What is left to do before, and whether that is done.
    confinement: Option<(Confinement, Cell<bool>)>,
    /// Whose home directory its environment is to name, if it names none.
    homeless: Option<u32>,
}

impl LinuxProgram {
    /// The program of a specification, which is made such that `libcontainer` reads nothing of the
    /// image on the way. It would look the user's home directory up by the C library, which loads
    /// what the image's `nsswitch.conf` names into this process.
    pub fn of(spec: &mut oci::Spec, confinement: Option<Confinement>) -> Self {
        let mut homeless = None;
        if let Some(process) = spec.process_mut() {
            let mut environment = process.env().clone().unwrap_or_default();
            if !has_home(&mut environment) {
                environment.push("HOME=/".to_owned());
                process.set_env(Some(environment));
                homeless = Some(process.user().uid());
            }
        }
        LinuxProgram {
            confinement: confinement.map(|confinement| (confinement, Cell::new(false))),
            homeless,
        }
    }

    fn confine(&self) -> Result<(), String> {
        if let Some((confinement, is_entered)) = &self.confinement {
            confinement.enter()?;
            is_entered.set(true);
        }
        not_dumpable().map_err(|error| error.to_string())
    }
}

/// Whether an environment names a home directory. Of several the last one counts, and one that is
/// empty is none, as with runc (`prepareEnv` of its `libcontainer`): those are taken out.
pub(super) fn has_home(environment: &mut Vec<String>) -> bool {
    let value = |variable: &str| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        (name == "HOME").then_some(!value.is_empty())
    };
    let has_home = environment.iter().rev().find_map(|one| value(one));
    if has_home != Some(true) {
        environment.retain(|one| value(one).is_none());
    }
    has_home == Some(true)
}

/// The variable for the home directory of a container's user, by the container's own `/etc/passwd`.
pub(super) fn home_of(uid: u32) -> Vec<u8> {
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    let home = credentials::home(&String::from_utf8_lossy(&passwd), uid);
    format!("HOME={home}").into_bytes()
}

impl Executor for LinuxProgram {
    /// `libcontainer` calls it once, in the container's process, when that has become all else that
    /// it is to be. Between the place where it would have installed a filter and this one, it does
    /// nothing but what [`LinuxProgram::of`] keeps it from.
    fn validate(&self, spec: &oci::Spec) -> Result<(), ExecutorValidationError> {
        self.confine()
            .and_then(|()| Program::of(spec.process().as_ref()).map(drop))
            .map_err(ExecutorValidationError::ArgValidationError)
    }

    fn exec(&self, spec: &oci::Spec) -> Result<(), ExecutorError> {
        if matches!(&self.confinement, Some((_, is_entered)) if !is_entered.get()) {
            let why = "its process was not confined before its start".to_owned();
            return Err(ExecutorError::Other(why));
        }
        let program = Program::of(spec.process().as_ref()).map_err(ExecutorError::Other)?;
        let variables = std::env::vars_os();
        let environment: Vec<_> = variables
            .filter(|(name, _)| self.homeless.is_none() || name != "HOME")
            .map(|(name, value)| {
                let mut variable = name.into_encoded_bytes();
                variable.push(b'=');
                variable.extend(value.into_encoded_bytes());
                variable
            })
            .chain(self.homeless.map(home_of))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What libcontainer is given of an environment, and whose home it does not name.
    fn given(environment: &[&str]) -> (Vec<String>, Option<u32>) {
        let user = json!({ "uid": 7, "gid": 7 });
        let process = json!({ "cwd": "/", "args": ["/x"], "user": user, "env": environment });
        let spec = json!({ "ociVersion": "1.0.2", "process": process });
        let mut spec: oci::Spec = serde_json::from_value(spec).unwrap();
        let program = LinuxProgram::of(&mut spec, None);
        let process = spec.process().as_ref().unwrap();
        (process.env().clone().unwrap(), program.homeless)
    }

    #[test]
    fn libcontainer_has_no_home_to_look_up() {
        for named in [
            &["HOME=/a"][..],
            &["HOME=", "HOME=/a"],
            &["HOME=/b", "HOME=/a"],
        ] {
            assert_eq!(
                given(named),
                (named.iter().map(ToString::to_string).collect(), None)
            );
        }
        for unnamed in [
            &["HOMER=/x"][..],
            &["HOMER=/x", "HOME="],
            &["HOME", "HOMER=/x"],
            &["HOME=/a", "HOMER=/x", "HOME"],
            &["HOME=/a", "HOME=", "HOMER=/x"],
        ] {
            let with_place = ["HOMER=/x", "HOME=/"].map(str::to_owned).to_vec();
            assert_eq!(given(unnamed), (with_place, Some(7)), "{unnamed:?}");
        }
    }
}
