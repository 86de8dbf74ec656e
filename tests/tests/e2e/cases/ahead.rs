//! What is made of a container between its `start` and its Create, where that does not come.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cases;
use crate::command::LIMIT;
use crate::mode::Server;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        what_was_made_ahead_goes_when_no_create_comes,
        what_was_made_ahead_goes_with_its_task,
    ],
}

/// A bundle as containerd makes it.
struct Bundle<'a> {
    test: &'a Test<'a>,
    id: String,
    folder: String,
}

impl<'a> Bundle<'a> {
    fn with(test: &'a Test<'a>, act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let bundle = Self {
            test,
            id: format!("{}-ahead", test.id),
            folder: format!("/run/bundle-of-{}", test.id),
        };
        let folder = &bundle.folder;
        let make = format!(
            "mkdir -p {folder}/rootfs; mkfifo {folder}/log; cd {folder}
             ctr oci spec | sed 's#\"cgroupsPath\": \"[^\"]*\"#\"cgroupsPath\": \"/default/{id}\"#' > config.json",
            id = bundle.id
        );
        test.exec(&["sh", "-ec", &make])?.expect(0)?;
        let result = act(&bundle);
        test.exec(&["rm", "-r", folder])?.expect(0)?;
        result
    }

    /// Runs the shim as containerd does.
    fn shim(&self, verb: &str) -> Result<()> {
        let runtime = self.test.mode.runtime();
        let name = runtime
            .trim_start_matches("io.containerd.")
            .replace('.', "-");
        let script = format!(
            "cd {0} && containerd-shim-{name} -namespace default -id {1} \
             -address /run/containerd/containerd.sock -bundle {0} {verb} < /dev/null",
            self.folder, self.id
        );
        self.test.exec(&["sh", "-c", &script])?.expect(0)?;
        Ok(())
    }

    /// The pid of what becomes the container's init, once it is in the state.
    fn init(&self) -> Result<String> {
        let state = format!("cat {}/trireme/state.json", self.folder);
        let deadline = Instant::now() + LIMIT;
        loop {
            let seen = self.test.exec(&["sh", "-c", &state])?;
            let state: Value = serde_json::from_str(&seen.stdout).unwrap_or_default();
            if let Some(pid) = state["processes"][0]["pid"].as_i64() {
                return Ok(pid.to_string());
            }
            ensure!(Instant::now() < deadline, "no init: {seen:?}");
        }
    }

    /// The cgroups of a process.
    fn cgroups(&self, pid: &str) -> Result<String> {
        let file = format!("/proc/{pid}/cgroup");
        Ok(self.test.exec(&["cat", &file])?.expect(0)?.stdout)
    }

    fn is_there(&self, pid: &str) -> Result<bool> {
        let script = format!(
            "test -e {}/trireme/state.json || test -e /proc/{pid} || \
             find /sys/fs/cgroup -type d -name {} | grep -q .",
            self.folder, self.id
        );
        Ok(self.test.exec(&["sh", "-c", &script])?.code == 0)
    }
}

/// The init waits in the container's cgroup.
fn announced(bundle: &Bundle<'_>) -> Result<String> {
    bundle.shim("start")?;
    let pid = bundle.init()?;
    let deadline = Instant::now() + LIMIT;
    let wanted = format!("/default/{}", bundle.id);
    loop {
        let cgroups = bundle.cgroups(&pid).context("the init is gone")?;
        if cgroups.lines().any(|line| line.ends_with(&wanted)) {
            return Ok(pid);
        }
        ensure!(Instant::now() < deadline, "it is in {cgroups}");
    }
}

/// A new server makes nothing ahead before containerd has connected to it.
fn nothing_is_made_by_a_new_server(test: &Test<'_>) -> Result<()> {
    Bundle::with(test, |bundle| {
        bundle.shim("start")?;
        std::thread::sleep(Duration::from_millis(500));
        let seen = bundle.is_there("self-is-no-process")?;
        bundle.shim("delete")?;
        ensure!(!seen, "something was made");
        Ok(())
    })
}

/// With another task on the server of the node. A bundle is a pod of its own, so that a server of
/// one pod is always new.
fn beside_another(test: &Test<'_>, act: impl FnOnce(&Bundle<'_>) -> Result<()>) -> Result<()> {
    if test.mode.server() == Server::PerPod {
        return nothing_is_made_by_a_new_server(test);
    }
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let result = Bundle::with(test, act);
    test.remove()?;
    result
}

fn what_was_made_ahead_goes_when_no_create_comes(test: &Test<'_>) -> Result<()> {
    beside_another(test, |bundle| {
        let pid = announced(bundle)?;
        let deadline = Instant::now() + LIMIT;
        while bundle.is_there(&pid)? {
            ensure!(Instant::now() < deadline, "it is still there");
        }
        Ok(())
    })
}

fn what_was_made_ahead_goes_with_its_task(test: &Test<'_>) -> Result<()> {
    beside_another(test, |bundle| {
        let pid = announced(bundle)?;
        bundle.shim("delete")?;
        ensure!(!bundle.is_there(&pid)?, "it is still there");
        Ok(())
    })
}
