//! `trireme run`.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use trireme_core::program::{FileKind, HEAD};
use trireme_core::request::{EngineChoice, RunRequest, SharedDirectory};

use crate::executor;
use crate::settings::{self, ConfigOption};

/// The arguments of `trireme run`.
#[derive(Args)]
pub struct Run {
    /// The program, and its arguments; options of trireme stand before it
    #[arg(
        value_names = ["FILE", "ARGS"],
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    program: Vec<String>,
    /// The handler whose engine, settings and limits are used
    #[arg(long, default_value = "wasm", conflicts_with = "engine")]
    handler: String,
    /// The engine, with its default settings and no limits
    #[arg(long)]
    engine: Option<String>,
    /// A folder that the guest sees; may be given again
    #[arg(long = "dir", value_name = "HOST:GUEST[:ro]", value_parser = shared_directory)]
    directories: Vec<SharedDirectory>,
    /// An environment variable; without a value it is passed on. May be given again
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The exported function to call instead of the program's own entry point
    #[arg(long, value_name = "FUNCTION")]
    invoke: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
}

impl Run {
    /// Becomes the executor.
    pub fn execute(self) -> Result<()> {
        let loaded = self.config.load()?;
        let engine = match &self.engine {
            Some(engine) => settings::engine(&loaded, engine),
            None => settings::handler(&loaded, &self.handler)?.engine_choice(),
        };
        let request = self.request(engine, settings::cache(&loaded))?;
        executor::become_executor("run", &request)
    }

    fn request(
        self,
        engine: EngineChoice,
        cache: Option<trireme_core::config::CacheConfig>,
    ) -> Result<RunRequest> {
        let file = PathBuf::from(self.program.first().context("no program is named")?);
        check_program(&file)?;
        for directory in &self.directories {
            if !directory.host.is_dir() {
                bail!("--dir: {} is not a folder", directory.host.display());
            }
        }
        Ok(RunRequest {
            engine,
            file,
            invoke: self.invoke,
            args: self.program,
            env: environment(&self.env)?,
            directories: self.directories,
            cache,
        })
    }
}

/// Says what a file is that no engine would take, before one is opened.
pub fn check_program(file: &Path) -> Result<()> {
    let mut head = Vec::new();
    File::open(file)
        .and_then(|f| f.take(HEAD as u64).read_to_end(&mut head))
        .with_context(|| format!("cannot read the program {}", file.display()))?;
    match FileKind::recognise(&head) {
        FileKind::Module | FileKind::Component | FileKind::Text => Ok(()),
        other => bail!(
            "{} is {other}; give a WebAssembly module or component",
            file.display()
        ),
    }
}

/// `HOST:GUEST[:ro]`, or `HOST` for the same name on both sides.
fn shared_directory(text: &str) -> Result<SharedDirectory> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, guest, read_only) = match parts[..] {
        [host] => (host, host, false),
        [host, guest] => (host, guest, false),
        [host, guest, "ro"] => (host, guest, true),
        _ => bail!("write HOST:GUEST, or HOST:GUEST:ro for a folder that is only read"),
    };
    if host.is_empty() || guest.is_empty() {
        bail!("a side is empty; write HOST:GUEST or HOST:GUEST:ro");
    }
    Ok(SharedDirectory {
        host: host.into(),
        guest: guest.into(),
        read_only,
    })
}

/// The guest's environment, sorted; of a name given twice the last value
/// holds.
fn environment(given: &[String]) -> Result<Vec<(String, String)>> {
    let variables: BTreeMap<_, _> = given
        .iter()
        .map(|text| variable(text))
        .collect::<Result<_>>()?;
    Ok(variables.into_iter().collect())
}

fn variable(text: &str) -> Result<(String, String)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => {
            let inherited = env::var(text);
            (
                text,
                inherited.map_err(|_| anyhow!("--env {text}: it is not set here as text"))?,
            )
        }
    };
    if name.is_empty() {
        bail!("--env {text}: write NAME=VALUE");
    }
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_two_paths_and_perhaps_ro() {
        let shared = |host: &str, guest: &str, read_only| SharedDirectory {
            host: host.into(),
            guest: guest.into(),
            read_only,
        };
        assert_eq!(
            shared_directory("/a:/b").unwrap(),
            shared("/a", "/b", false)
        );
        assert_eq!(shared_directory("a:.:ro").unwrap(), shared("a", ".", true));
        assert_eq!(shared_directory("/a").unwrap(), shared("/a", "/a", false));
        for text in ["", ":", "a:", ":b", "a:b:rw", "a:b:ro:c", "::ro"] {
            shared_directory(text).unwrap_err();
        }
    }

    #[test]
    fn of_a_variable_given_twice_the_last_value_holds() {
        let given = ["B=1", "A=x=y", "B=", "PATH"].map(str::to_owned);
        let path = env::var("PATH").unwrap();
        let expected = [("A", "x=y"), ("B", ""), ("PATH", &path)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment(&given).unwrap(), expected);
        let error = environment(&["TRIREME_NOT_SET".into()])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "--env TRIREME_NOT_SET: it is not set here as text");
        environment(&["=x".into()]).unwrap_err();
    }
}
