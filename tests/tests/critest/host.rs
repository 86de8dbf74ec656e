//! A host that `critest` runs in, with a registry that has its images. It goes when the run is over,
//! however it ends.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use trireme_tests::critest::{MEASUREMENT, Results};
use trireme_tests::guests::critest::REGISTRIES;
use trireme_tests::host::packages::CRITEST;
use trireme_tests::host::run::Mark;
use trireme_tests::host::{Instance, containerd, daemon};
use trireme_tests::leaks::{Snapshot, wait_until_clean};
use trireme_tests::registry::{Registry, archives};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trireme-host");
pub const MARK: Mark = Mark("@critest-");
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
        MARK.clear_orphans();
        CRITEST.ensure()?;
        let instance = Instance::parse(&MARK.name(kind))?;
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
        MARK.down(&self.instance);
    }
}
