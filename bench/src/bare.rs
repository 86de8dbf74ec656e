//! Programs on the engine's own library, without a container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::image::Image;

/// What `bench/run` builds beside this program.
const PROGRAM: &str = "trireme-bare";

/// The engine that there is a program of.
pub const ENGINE: &str = "wasmtime";

/// The engine with the code of some programs, and the folder that they work in.
pub struct Bare {
    program: PathBuf,
    root: TempDir,
    codes: BTreeMap<&'static str, PathBuf>,
}

impl Bare {
    /// Compiles programs: files, with the images that they are in.
    ///
    /// # Errors
    ///
    /// When the engine's program was not built, or an image is not there.
    pub fn with(programs: &[(&'static str, &'static str)]) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name(PROGRAM);
        ensure!(
            program.exists(),
            "{} is not there: `bench/run` builds it",
            program.display()
        );
        let root = tempfile::tempdir_in("/var/lib").context("make a folder to work in")?;
        std::fs::create_dir(root.path().join("work")).context("make a folder to work in")?;
        let mut bare = Self {
            program,
            root,
            codes: BTreeMap::new(),
        };
        for (file, image) in programs {
            if !bare.codes.contains_key(file) {
                let code = bare.root.path().join(format!("{file}.code"));
                bare.compile(file, image, &code)?;
                bare.codes.insert(file, code);
            }
        }
        Ok(bare)
    }

    /// What containers have as `/work`.
    pub fn folder(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Starts a program with these arguments, its own name the first.
    ///
    /// # Errors
    ///
    /// When it was not compiled.
    pub fn start(&self, file: &str, arguments: &[String]) -> Result<Running> {
        let code = self.codes.get(file).context("it is not compiled")?;
        let child = Command::new(&self.program)
            .arg("run")
            .args([code.as_path(), self.root.path()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("run {}", self.program.display()))?;
        Ok(Running(child))
    }

    fn compile(&self, file: &str, image: &str, code: &Path) -> Result<()> {
        let image = Image::mount("default", image)?;
        let status = Command::new(&self.program)
            .arg("compile")
            .args([image.path().join(file).as_path(), code])
            .status()
            .with_context(|| format!("run {}", self.program.display()))?;
        ensure!(status.success(), "compile {file}: {status}");
        Ok(())
    }
}

/// A program that runs; it ends when this is dropped.
pub struct Running(Child);

impl Running {
    /// Waits for its end, which must be 0.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn finish(mut self) -> Result<()> {
        let status = self.0.wait().context("wait for the program")?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
