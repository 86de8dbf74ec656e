//! A host that `critest` runs in, with a registry that has its images. It goes when the run is over,
//! however it ends.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{SigSet, Signal};
use trireme_tests::critest::{MEASUREMENT, Results};
use trireme_tests::guests::critest::REGISTRIES;
use trireme_tests::host::packages::CRITEST;
use trireme_tests::host::{Instance, containerd, daemon, life};
use trireme_tests::leaks::{Snapshot, wait_until_clean};
use trireme_tests::registry::{Registry, archives};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trireme-host");
const MARK: &str = "@critest-";
/// Where a run leaves its report, in the host.
const FOLDER: &str = "/run/critest";
/// A server of a node stays for a minute (`idle_timeout`).
const CLEAN_LIMIT: Duration = Duration::from_secs(90);
/// What containerd and runc make once and keep; it is made now, so that it is not taken for what a
/// handler leaves.
const WARM_UP: &str = "\
    ctr -n k8s.io run --rm trireme.test/native:latest warm-up /bin/true\n\
    folder=/run/containerd/io.containerd.grpc.v1.cri\n\
    mkdir -p $folder/containers $folder/sandboxes\n\
    mkdir -p /run/containerd/io.containerd.sandbox.controller.v1.shim/k8s.io";

/// A host that is up.
pub struct Host {
    instance: Instance,
    _registry: Registry,
}

impl Host {
    pub fn up(kind: &str) -> Result<Self> {
        clear(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists());
        CRITEST.ensure()?;
        let instance = Instance::parse(&format!("{kind}{MARK}{}", std::process::id()))?;
        let up = Command::new(PROGRAM)
            .args([instance.name(), "--", "sh", "-ec", WARM_UP])
            .stdin(Stdio::null())
            .status()?;
        ensure!(up.success(), "host {instance} did not come up ({up})");
        let guests = fs::read_to_string(instance.state()?.join("images.imported"))?;
        let images = archives(&std::path::Path::new(&guests).join("critest"))?;
        let registry = Registry::serve(&instance, &images)?;
        let address = registry.address;
        for name in REGISTRIES {
            let text = format!(
                "server = \"http://{address}\"\n\n\
                 [host.\"http://{address}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
            );
            instance.write(&format!("/etc/containerd/certs.d/{name}/hosts.toml"), &text)?;
        }
        Ok(Self {
            instance,
            _registry: registry,
        })
    }

    /// What `critest` says of a handler, and what that left in the host.
    pub fn run(&self, handler: &str) -> Result<(Results, Vec<String>)> {
        let before = Snapshot::take(&self.instance)?;
        let output = self.command(&self.critest(handler)?).output()?;
        let report = daemon::root_of(&self.instance)?
            .join(FOLDER.trim_start_matches('/'))
            .join("report.json");
        let report = fs::read(&report).with_context(|| {
            format!(
                "critest wrote no report: {}{}\nthe end of containerd's log:\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
                containerd::DAEMON.tail(&self.instance, 0, 25)
            )
        })?;
        let results = Results::parse(&report)?;
        // What a spec that failed did not remove is not the handler's.
        let words = ["crictl", "rmp", "--all", "--force"];
        self.command(&words.map(str::to_owned)).output()?;
        let left = wait_until_clean(&self.instance, &before, CLEAN_LIMIT)?;
        Ok((results, left.iter().map(ToString::to_string).collect()))
    }

    /// The command that runs every spec: several at once, since most of them wait most of the time,
    /// and in the same order each time.
    fn critest(&self, handler: &str) -> Result<Vec<String>> {
        let tools = CRITEST.folder()?;
        let script = format!(
            "rm -rf {FOLDER} && mkdir -p {FOLDER}/tmp && cd {FOLDER}\n\
             TMPDIR={FOLDER}/tmp exec {}/ginkgo --procs=4 --seed=1 --timeout=20m \
             --skip={MEASUREMENT} --json-report=report.json --output-dir={FOLDER} \
             {}/critest.test -- --runtime-handler={handler}",
            tools.display(),
            tools.display()
        );
        Ok(["sh", "-ec", &script].map(str::to_owned).to_vec())
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["internal-enter", self.instance.name()])
            .args(words)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        report(&self.instance);
    }
}

/// Ends the hosts when the run is interrupted. Call it before any thread is started.
pub fn take_down_on_signals() {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    if let Err(error) = signals.thread_block() {
        eprintln!("critest: signals cannot be caught: {error}");
        return;
    }
    std::thread::spawn(move || {
        let signal = signals.wait();
        clear(|pid| pid == std::process::id());
        std::process::exit(128 + signal.map_or(1, |signal| signal as i32));
    });
}

fn report(instance: &Instance) {
    if let Err(error) = life::down(instance) {
        eprintln!("critest: {instance} could not be taken down: {error:#}");
    }
}

/// Ends the hosts of runs that are meant.
fn clear(is_meant: impl Fn(u32) -> bool) {
    for instance in life::list().unwrap_or_default() {
        let pid = instance
            .name()
            .split_once(MARK)
            .and_then(|(_, pid)| pid.parse().ok());
        if pid.is_some_and(&is_meant) {
            report(&instance);
        }
    }
}
