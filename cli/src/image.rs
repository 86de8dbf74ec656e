//! `trireme image`.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use trireme_image::{
    Built, ExtraFile, Format, Options, Platform, Program, Reference, build_archive,
};

use crate::output;

/// What can be done with images.
#[derive(Subcommand)]
pub enum Image {
    /// Build an archive with one image, for `ctr image import` and its like
    Build(Build),
}

/// The arguments of `trireme image build`.
#[derive(Args)]
pub struct Build {
    /// The WebAssembly module or component
    #[arg(value_name = "FILE")]
    program: PathBuf,
    /// The image's name; `hello` is docker.io/library/hello:latest
    #[arg(short, long, value_name = "NAME")]
    tag: Reference,
    /// The archive to write, or `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// rootfs, or oci-artifact: the program as a layer of its own
    #[arg(long, default_value_t)]
    format: Format,
    /// wasi/wasm, wasi/wasm32 or linux/amd64
    #[arg(long, default_value_t)]
    platform: Platform,
    /// An environment variable; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// An argument where the container gives none; may be given again
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// The working directory
    #[arg(long, value_name = "GUEST")]
    workdir: Option<String>,
    /// A further file; may be given again
    #[arg(long = "file", value_name = "HOST:GUEST", value_parser = file_option)]
    files: Vec<(PathBuf, String)>,
}

fn file_option(text: &str) -> Result<(PathBuf, String)> {
    match text.rsplit_once(':') {
        Some((host, guest)) if !host.is_empty() => Ok((host.into(), guest.to_owned())),
        _ => bail!("write HOST:GUEST"),
    }
}

impl Image {
    /// Does what is asked.
    pub fn execute(self) -> Result<()> {
        match self {
            Image::Build(build) => build.execute(),
        }
    }
}

impl Build {
    fn execute(self) -> Result<()> {
        let wasm = read(&self.program)?;
        let name = self
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let program = Program {
            name: &name,
            wasm: &wasm,
        };
        let options = self.options()?;
        let build = |out: &mut dyn Write| Ok(build_archive(&program, &self.tag, &options, out)?);
        if self.output == Path::new("-") {
            let built = build(&mut io::stdout().lock())?;
            eprint!("{}", self.summary(&built));
            return Ok(());
        }
        let built = write(&self.output, build)?;
        output::print(&self.summary(&built))
    }

    fn options(&self) -> Result<Options> {
        let files: Result<_> = self
            .files
            .iter()
            .map(|(host, guest)| extra(host, guest))
            .collect();
        Ok(Options {
            format: self.format,
            platform: self.platform,
            cmd: self.cmd.clone(),
            env: self.env.clone(),
            working_dir: self.workdir.clone(),
            files: files?,
        })
    }

    fn summary(&self, built: &Built) -> String {
        let Built { digest, entrypoint } = built;
        format!(
            "{} {} {digest} runs {entrypoint}\n",
            self.tag, self.platform
        )
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn extra(host: &Path, guest: &str) -> Result<ExtraFile> {
    let content = read(host)?;
    let mode = host
        .metadata()
        .with_context(|| format!("cannot read {}", host.display()))?
        .permissions()
        .mode();
    Ok(ExtraFile {
        guest: guest.to_owned(),
        content,
        executable: mode & 0o111 != 0,
    })
}

/// Writes a file that appears whole or not at all.
fn write<T>(file: &Path, content: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    let failed = || format!("cannot write {}", file.display());
    let dir = match file.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    // The umask takes its share of these rights, as of those of any new file.
    let mut out = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .with_context(failed)?;
    let value = content(&mut out)?;
    out.persist(file).with_context(failed)?;
    Ok(value)
}
