//! The engine's own library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::UsageWho;
use tempfile::TempDir;

use crate::cpu;
use crate::image::Image;

use super::work::{WORKS, Work};

/// What `bench/run` builds beside this program.
const PROGRAM: &str = "trireme-bare";

/// The engine with the code of every work, and the folder that they work in.
pub struct Bare {
    program: PathBuf,
    root: TempDir,
    codes: BTreeMap<&'static str, PathBuf>,
}

impl Bare {
    /// Compiles the programs of all works.
    ///
    /// # Errors
    ///
    /// When there is no such program, or an image is not there.
    pub fn set_up() -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name(PROGRAM);
        ensure!(
            program.exists(),
            "{} is not there: `bench/run steady` builds it",
            program.display()
        );
        let root = tempfile::tempdir_in("/var/lib").context("make a folder to work in")?;
        std::fs::create_dir(root.path().join("work")).context("make a folder to work in")?;
        let mut bare = Self {
            program,
            root,
            codes: BTreeMap::new(),
        };
        for work in &WORKS {
            if !bare.codes.contains_key(work.file) {
                let code = bare.root.path().join(format!("{}.code", work.file));
                bare.compile(work, &code)?;
                bare.codes.insert(work.file, code);
            }
        }
        Ok(bare)
    }

    /// What containers have as `/work`.
    pub fn folder(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Runs a work to its end, and returns the processor time that its process took.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn run(&self, work: &Work) -> Result<Duration> {
        let session = work.session()?;
        let code = self.codes.get(work.file).context("it is not compiled")?;
        let before = cpu::used_by(UsageWho::RUSAGE_CHILDREN)?;
        let child = Command::new(&self.program)
            .arg("run")
            .args([code.as_path(), self.root.path()])
            .args(&session.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("run {}", self.program.display()))?;
        let mut child = Ended(child);
        session.attend()?;
        let status = child.0.wait().context("wait for the program")?;
        ensure!(status.success(), "it ended with {status}");
        Ok(cpu::used_by(UsageWho::RUSAGE_CHILDREN)?.saturating_sub(before))
    }

    fn compile(&self, work: &Work, code: &Path) -> Result<()> {
        let image = Image::mount("default", work.image)?;
        let status = Command::new(&self.program)
            .arg("compile")
            .args([image.path().join(work.file).as_path(), code])
            .status()
            .with_context(|| format!("run {}", self.program.display()))?;
        ensure!(status.success(), "compile {}: {status}", work.file);
        Ok(())
    }
}

/// A process that ends with whoever started it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
