//! Containers like one that CRI has made, in the same pod, by calls to its server.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::connection::Connection;
use crate::command;
use crate::image::Image;
use crate::messages::Empty;
use crate::messages::shim::{Create, Kill, Named};
use crate::messages::snapshots::Mount;
use crate::messages::tasks::Exit;
use crate::pod::cri;
use crate::task::{SIGKILL, mkfifo};

/// CRI's namespace.
const NAMESPACE: &str = "k8s.io";
/// Where containerd has the bundles of CRI's containers.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
/// On the file system where it has bundles.
const RUN: &str = "/run";
/// On that where it has snapshots.
const DISK: &str = "/var/lib/containerd";
/// What the folders there begin with.
const PREFIX: &str = "bench-server-";
/// The container's name.
const NAME: &str = "bench-server";
const PROGRAM: &str = "/hello.wasm";
/// How long a guest may take to print something.
const LIMIT: Duration = Duration::from_secs(10);

/// The files that containers are made of; they go when this is dropped.
pub struct Place {
    run: TempDir,
    disk: TempDir,
}

impl Place {
    /// With the files of an image, for all containers to have below their own.
    ///
    /// # Errors
    ///
    /// When CRI has no such image.
    pub fn with(image: &str) -> Result<Self> {
        let make = |parent: &str| {
            remove_left(parent)?;
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
            folder.with_context(|| format!("make a folder in {parent}"))
        };
        let place = Self {
            run: make(RUN)?,
            disk: make(DISK)?,
        };
        let image = Image::mount(NAMESPACE, image)?;
        let mut copy = Command::new("cp");
        copy.arg("--archive").arg(image.path()).arg(place.lower());
        command::run(&mut copy)?;
        Ok(place)
    }

    fn lower(&self) -> PathBuf {
        self.disk.path().join("lower")
    }
}

/// Removes what a run has left that was killed.
fn remove_left(parent: &str) -> Result<()> {
    let entries = fs::read_dir(parent).with_context(|| format!("read {parent}"))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let path = entry.path();
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// How long a container took.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From the call of Create to the first byte.
    pub whole: Duration,
    /// From the call of Create to its answer.
    pub create: Duration,
    /// From the call of Start to the first byte.
    pub start: Duration,
}

/// A container that CRI has made, as what others are to be like, and its server.
pub struct Template {
    server: Connection,
    spec: Value,
}

impl Template {
    /// That of the one container of a pod.
    ///
    /// # Errors
    ///
    /// When there is none, or its server does not listen.
    pub fn of(pod: &str) -> Result<Self> {
        let crictl = |words: &[&str]| {
            let id = command::run(cri::crictl().args(words).args(["--quiet", "--no-trunc"]))?;
            anyhow::Ok(id.trim().to_owned())
        };
        let pod = crictl(&["pods", "--name", pod])?;
        let container = crictl(&["ps", "--pod", &pod])?;
        let info = ["--namespace", NAMESPACE, "container", "info", &container];
        let info = command::run(Command::new("ctr").args(info))?;
        let mut info: Value = serde_json::from_str(&info).context("read a container of CRI")?;
        let address = address(&Path::new(BUNDLES).join(&container))?;
        let mut template = Self {
            server: Connection::open(Path::new(address.trim_start_matches("unix://")))?,
            spec: info["Spec"].take(),
        };
        // A server of the node may have one of a run that was killed.
        template.remove();
        Ok(template)
    }

    /// Runs one to its end, which must be 0.
    ///
    /// # Errors
    ///
    /// When a call fails or the container does; nothing of it is left.
    pub fn run(&mut self, place: &Place) -> Result<Times> {
        let folders = [&place.run, &place.disk].map(|folder| folder.path().join(NAME));
        let [bundle, snapshot] = &folders;
        let bundle = Bundle::make(bundle, snapshot, &place.lower(), &self.spec)?;
        let times = self.run_through(&bundle);
        if times.is_err() {
            self.remove();
        }
        for folder in &folders {
            let removed = fs::remove_dir_all(folder);
            if times.is_ok() {
                removed.with_context(|| format!("remove {}", folder.display()))?;
            }
        }
        times
    }

    fn run_through(&mut self, bundle: &Bundle) -> Result<Times> {
        let begin = Instant::now();
        let _: Empty = self.server.call("Create", &bundle.create)?;
        let created = Instant::now();
        let _: Empty = self.server.call("Start", &named())?;
        let first = bundle.first.recv_timeout(LIMIT);
        let first = first.context("it prints nothing")?;
        let exit: Exit = self.server.call("Wait", &named())?;
        let _: Empty = self.server.call("Delete", &named())?;
        ensure!(exit.exit_status == 0, "it ended with {}", exit.exit_status);
        Ok(Times {
            whole: first - begin,
            create: created - begin,
            start: first - created,
        })
    }

    /// Removes what there may be of one.
    fn remove(&mut self) {
        let kill = Kill {
            id: NAME.to_owned(),
            signal: SIGKILL,
            all: true,
        };
        if self.server.call::<Empty>("Kill", &kill).is_ok() {
            let _ = self.server.call::<Exit>("Wait", &named());
        }
        let _ = self.server.call::<Empty>("Delete", &named());
    }
}

/// Where a container's server listens, as containerd 2.x writes it into the bundle, or as its shim does
/// before.
fn address(bundle: &Path) -> Result<String> {
    let read = |name: &str| fs::read_to_string(bundle.join(name));
    let Ok(bootstrap) = read("bootstrap.json") else {
        return read("address").with_context(|| format!("no address in {}", bundle.display()));
    };
    let bootstrap: Value = serde_json::from_str(&bootstrap).context("read bootstrap.json")?;
    let address = bootstrap["address"].as_str().context("no address")?;
    Ok(address.to_owned())
}

/// What containerd makes of a container before it calls its server.
struct Bundle {
    create: Create,
    /// Is told when the first byte of its output comes.
    first: Receiver<Instant>,
    /// Its streams and its log, so that somebody has them open to read; what is written to them
    /// fits.
    _open: [File; 3],
}

impl Bundle {
    fn make(folder: &Path, snapshot: &Path, lower: &Path, spec: &Value) -> Result<Self> {
        let [root, upper, work] = [
            folder.join("rootfs"),
            snapshot.join("upper"),
            snapshot.join("work"),
        ];
        for made in [&root, &upper, &work] {
            fs::create_dir_all(made).with_context(|| format!("make {}", made.display()))?;
        }
        let mut spec = spec.clone();
        spec["process"]["args"] = json!([PROGRAM]);
        let cgroup = spec["linux"]["cgroupsPath"].as_str().context("no cgroup")?;
        spec["linux"]["cgroupsPath"] = format!("{cgroup}-{NAME}").into();
        fs::write(folder.join("config.json"), spec.to_string()).context("write a specification")?;
        let streams = ["stdout", "stderr", "log"].map(|name| folder.join(name));
        let [stdout, stderr, log] = &streams;
        let overlay = Mount {
            r#type: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: vec![
                format!("lowerdir={}", lower.display()),
                format!("upperdir={}", upper.display()),
                format!("workdir={}", work.display()),
            ],
        };
        let create = Create {
            id: NAME.to_owned(),
            bundle: folder.display().to_string(),
            rootfs: vec![overlay],
            stdout: stdout.display().to_string(),
            stderr: stderr.display().to_string(),
        };
        let open = [fifo(stdout)?, fifo(stderr)?, fifo(log)?];
        Ok(Self {
            create,
            first: first_byte(open[0].try_clone()?),
            _open: open,
        })
    }
}

/// Makes a FIFO and opens it for both directions, so that nobody waits for the other.
fn fifo(path: &Path) -> Result<File> {
    mkfifo(path)?;
    let file = File::options().read(true).write(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

/// Tells when the first byte comes.
fn first_byte(mut fifo: File) -> Receiver<Instant> {
    let (told, first) = mpsc::channel();
    std::thread::spawn(move || {
        if fifo.read_exact(&mut [0]).is_ok() {
            let _ = told.send(Instant::now());
        }
    });
    first
}

fn named() -> Named {
    Named {
        id: NAME.to_owned(),
    }
}
