//! The hosts of a run: private instances, up when first used, gone when the run is over, however
//! it ends.

use std::fs::File;
use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use trireme_tests::engines::Engine;
use trireme_tests::host::run::Mark;
use trireme_tests::host::{Instance, KINDS, Kind, Root, containerd, install, life};
use trireme_tests::paths;

use crate::cases::Needs;
use crate::mode::{self, PLUGINS};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trireme-host");
pub const MARK: Mark = Mark("@e2e-");
/// The RuntimeClasses that users are offered.
const CLASSES: &str = include_str!("../../../deploy/kubernetes/runtimeclasses.yaml");
const CLASSES_FILE: &str = "/etc/kubernetes/runtimeclasses.yaml";
/// A pod of each of the two qualities of service whose cgroups stay.
const PODS: &str = include_str!("../../hosts/kubernetes/warm-up.yaml");
const PODS_FILE: &str = "/etc/kubernetes/warm-up.yaml";
/// The second namespace of containerd that cases use.
pub const SECOND_NAMESPACE: &str = "second";

/// One host.
pub struct Host {
    pub instance: Instance,
    is_up: bool,
}

impl Host {
    /// A command in the host; it must be up.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["internal-enter", self.instance.name()])
            .args(words);
        command
    }

    /// Has `tests/host` do something to the host's daemon.
    pub fn act(&self, action: &str) -> Result<()> {
        let words = [self.instance.name(), action];
        match Command::new(PROGRAM).args(words).status()?.success() {
            true => Ok(()),
            false => bail!("tests/host {} failed", words.join(" ")),
        }
    }

    /// The last lines of containerd's log.
    pub fn log_tail(&self) -> String {
        containerd::DAEMON.tail(&self.instance, 0, 25)
    }

    /// Writes containerd's log to a file that outlives the host.
    pub fn keep_log(&self, name: &str) -> Result<PathBuf> {
        let folder = paths::cache()?.join("failed");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{}-{name}.log", self.instance.kind.name));
        let log = containerd::DAEMON.tail(&self.instance, 0, usize::MAX);
        std::fs::write(&file, log)?;
        Ok(file)
    }

    /// Takes it down, if it is up; the next case brings it up again.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.is_up) {
            MARK.down(&self.instance);
        }
    }

    /// Whether it is an emulated machine that has ended by itself, as such machines may.
    pub fn has_died(&self) -> bool {
        self.instance.is_emulated() && matches!(life::init(&self.instance), Ok(None))
    }

    fn bring_up(&mut self) -> Result<()> {
        let mut command = Command::new(PROGRAM);
        command.arg(self.instance.name());
        if !paths::dist_bin()?
            .join("containerd-shim-trireme-v1")
            .exists()
        {
            eprintln!(
                "e2e: there is no build, so only the cases with runc can pass: run `make build`"
            );
            command.arg("--without-build");
        }
        if !command.arg("true").stdin(Stdio::null()).status()?.success() {
            bail!("host {} did not come up", self.instance);
        }
        self.is_up = true;
        self.install()?;
        self.warm_up()?;
        if self.instance.kind.docker {
            self.warm_up_with("docker run --rm trireme.test/native:latest >/dev/null")?;
        }
        if self.instance.kind.cri {
            self.warm_up_with(
                "ctr -n k8s.io run --rm trireme.test/native:latest warm-up /bin/true\n\
                 folder=/run/containerd/io.containerd.grpc.v1.cri\n\
                 mkdir -p $folder/containers $folder/sandboxes\n\
                 mkdir -p /run/containerd/io.containerd.sandbox.controller.v1.shim/k8s.io",
            )?;
        }
        if self.instance.kind.kubernetes {
            self.write(CLASSES_FILE, &mut CLASSES.as_bytes())?;
            self.write(PODS_FILE, &mut PODS.as_bytes())?;
            self.warm_up_with(&format!(
                "exec >/dev/null\n\
                 kubectl apply -f {CLASSES_FILE}\n\
                 kubectl apply -f {PODS_FILE}\n\
                 kubectl wait --for=jsonpath={{.status.phase}}=Succeeded -f {PODS_FILE}\n\
                 kubectl delete -f {PODS_FILE}"
            ))?;
        }
        Ok(())
    }

    /// Installs what the cases have beside what every host has: the engines that are plugins, and
    /// a handler for each mode.
    fn install(&self) -> Result<()> {
        let kind = self.instance.kind.name;
        let config = mode::config(kind);
        self.write("/etc/trireme/config.toml", &mut config.as_bytes())?;
        for engine in Engine::ALL.iter().filter(|engine| engine.is_on(kind)) {
            // Without a build, only the cases with runc can pass.
            if let Some(file) = engine.plugin()
                && paths::dist_plugins()?.join(file).exists()
            {
                self.install_plugin(file, PLUGINS)?;
            }
        }
        for handler in mode::handlers(kind) {
            let link = format!("{}/containerd-shim-{handler}-v1", install::FOLDER);
            let words = ["ln", "-sf", "containerd-shim-trireme-v1", &link];
            if !self.command(&words).status()?.success() {
                bail!("link {link} in {}", self.instance);
            }
        }
        Ok(())
    }

    /// Copies a plugin of this build to a folder of the host.
    pub fn install_plugin(&self, file: &str, folder: &str) -> Result<()> {
        let built = paths::dist_plugins()?.join(file);
        let mut built = File::open(&built)
            .with_context(|| format!("{}: run `make build` first", built.display()))?;
        self.write(&format!("{folder}/{file}"), &mut built)
    }

    /// Writes a file of the host, which need not see the files of the build.
    pub fn write(&self, path: &str, from: &mut impl Read) -> Result<()> {
        let script = format!("mkdir -p $(dirname {path}) && cat > {path}");
        let mut child = self
            .command(&["sh", "-ec", &script])
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            std::io::copy(from, &mut stdin)?;
        }
        match child.wait()?.success() {
            true => Ok(()),
            false => bail!("write {path} in {}", self.instance),
        }
    }

    /// What containerd and runc make once and keep (folders of namespaces, parents of cgroups)
    /// is made now, so that it is not taken for a leak later.
    fn warm_up(&self) -> Result<()> {
        let image = "trireme.test/native:latest";
        let script = format!(
            "for name in guests native; do\n\
             ctr -n {SECOND_NAMESPACE} images import \"$IMAGES\"/$name.tar >/dev/null\n\
             done\n\
             for namespace in default {SECOND_NAMESPACE}; do\n\
             ctr -n $namespace run --rm {image} warm-up /bin/true\n\
             done"
        );
        self.warm_up_with(&script)
    }

    fn warm_up_with(&self, script: &str) -> Result<()> {
        let status = self
            .command(&["sh", "-ec", script])
            .env("IMAGES", self.images()?)
            .status()?;
        match status.success() {
            true => Ok(()),
            false => bail!("warm-up of {} failed ({status})", self.instance),
        }
    }

    fn images(&self) -> Result<PathBuf> {
        Ok(self.guests()?.join("images"))
    }

    /// The folder with all that was built for guests.
    pub fn guests(&self) -> Result<PathBuf> {
        let note = std::fs::read_to_string(self.instance.state()?.join("images.imported"))?;
        Ok(note.into())
    }
}

/// A host that one case has for itself, and one of the few turns that there are at a time.
pub struct Taken<'a> {
    host: MutexGuard<'a, Host>,
    _turn: Turn<'a>,
}

impl Deref for Taken<'_> {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut Host {
        &mut self.host
    }
}

/// How many cases may run at a time, on whatever hosts.
struct Turns {
    left: Mutex<usize>,
    given_back: Condvar,
}

/// One of them, until it is dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    fn take(&self) -> Turn<'_> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self
            .given_back
            .wait_while(left, |left| *left == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *left -= 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}

/// All hosts of the run.
pub struct Hosts {
    all: Vec<Mutex<Host>>,
    turns: Turns,
}

impl Hosts {
    /// All hosts, on which `at_a_time` cases run at once.
    pub fn new(at_a_time: usize) -> Self {
        MARK.clear_orphans();
        let host = |kind: &str| {
            let instance =
                Instance::parse(&MARK.name(kind)).unwrap_or_else(|error| panic!("{error}"));
            Mutex::new(Host {
                instance,
                is_up: false,
            })
        };
        Self {
            all: KINDS.iter().map(|kind| host(kind.name)).collect(),
            turns: Turns {
                left: Mutex::new(at_a_time),
                given_back: Condvar::new(),
            },
        }
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn kind(&self, index: usize) -> &'static str {
        self.kind_of(index).name
    }

    /// Whether a host has what a case needs.
    pub fn has(&self, index: usize, needs: Needs) -> bool {
        if self.kind_of(index).kubernetes {
            return needs == Needs::Kube;
        }
        match needs {
            Needs::Kube => false,
            Needs::Nothing => true,
            Needs::Docker => self.kind_of(index).docker,
            Needs::Machine => self.is_emulated(index),
            Needs::Cri => self.kind_of(index).cri,
            Needs::Sandboxes => self.kind_of(index).config.contains("sandboxer"),
            Needs::OldLibc => !Engine::WasmEdge.is_on(self.kind(index)),
            Needs::WasmEdge => Engine::WasmEdge.is_on(self.kind(index)),
        }
    }

    fn kind_of(&self, index: usize) -> &'static Kind {
        &KINDS[index]
    }

    /// The host for one case alone, brought up if it is not. Who waits for a host takes no turn
    /// from those who have one.
    pub fn take(&self, index: usize) -> Result<Taken<'_>> {
        let mut host = self.all[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let turn = self.turns.take();
        if !host.is_up || host.has_died() {
            host.bring_up()?;
        }
        Ok(Taken { host, _turn: turn })
    }

    /// Whether a host is a machine of its own.
    pub fn is_emulated(&self, index: usize) -> bool {
        matches!(self.kind_of(index).root, Root::Emulated(..))
    }

    /// Ends all hosts that are up.
    pub fn take_down(&self) {
        for host in &self.all {
            host.lock().unwrap_or_else(PoisonError::into_inner).end();
        }
    }
}
