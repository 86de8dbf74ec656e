//! Pods, as Kubernetes asks for them, with the configuration in `deploy/containerd`.

pub mod faults;
mod fleet;
pub mod limits;
pub mod sandboxes;
pub mod storm;
pub mod upgrade;

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::accounts::is_counted;
use super::cases;
use super::limit::Limit;
use crate::command::LIMIT;
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Cri,
    as_with_runc: [],
    wasm: [containers_of_linux_run_in_pods_beside],
    on_each_host: [
        containerd_takes_the_configuration,
        guests_and_linux_programs_share_a_pod,
        limits_are_changed_while_containers_run,
    ],
}

fn containerd_takes_the_configuration(test: &Test<'_>) -> Result<()> {
    let dump = test.exec(&["containerd", "config", "dump"])?.expect(0)?;
    // Versions differ in the sort of quotes.
    let text = dump.stdout.replace('\'', "\"");
    for handler in ["wasm", "wasmtime", "wasmer", "wasmedge", "wasm-node"] {
        let line = format!("runtime_type = \"io.containerd.{handler}.v1\"");
        ensure!(text.contains(&line), "no {line}: {dump:?}");
    }
    ensure!(text.contains("restrict_oom_score_adj = true"), "{dump:?}");
    let info = test.exec(&["crictl", "info"])?.expect(0)?;
    ensure!(info.stdout.contains("\"wasm-node\""), "{info:?}");
    Ok(())
}

/// The client of CRI; its own limit of two seconds is for quiet machines.
const CRICTL: [&str; 3] = ["crictl", "--timeout", "20s"];

/// Runs the client, which must succeed, and returns what it printed.
pub fn crictl(test: &Test<'_>, words: &[&str]) -> Result<String> {
    let output = test.exec(&[&CRICTL, words].concat())?.expect(0)?;
    Ok(output.stdout.trim().to_owned())
}

/// A pod that runs, and the folder of its files.
pub struct Pod<'a> {
    pub test: &'a Test<'a>,
    id: String,
    folder: String,
}

impl<'a> Pod<'a> {
    /// Has `act` with a pod of a handler.
    pub fn with(
        test: &'a Test<'a>,
        handler: &str,
        act: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        Self::with_config(test, handler, r#""linux": {}"#, act)
    }

    /// The same with these members of its configuration, in JSON.
    pub fn with_config(
        test: &'a Test<'a>,
        handler: &str,
        config: &str,
        act: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let id = &test.id;
        let folder = format!("/run/pods-of-{id}");
        let make = format!(
            r#"mkdir -p {folder}
echo '{{ "metadata": {{ "name": "{id}", "namespace": "default", "uid": "{id}", "attempt": 1 }},
    "log_directory": "{folder}", {config} }}' > {folder}/pod.json"#
        );
        test.exec(&["bash", "-euc", &make])?.expect(0)?;
        let config = format!("{folder}/pod.json");
        let id = crictl(test, &["runp", "--runtime", handler, &config])?;
        let pod = Pod { test, id, folder };
        let result = act(&pod);
        let removed = pod.remove();
        test.exec(&["rm", "-r", &pod.folder])?.expect(0)?;
        result.and(removed.map(drop))
    }

    /// Removes it, unless somebody has.
    fn remove(&self) -> Result<String> {
        let there = crictl(self.test, &["pods", "--quiet", "--no-trunc"])?;
        match there.contains(&self.id) {
            true => crictl(self.test, &["rmp", "--force", &self.id]),
            false => Ok(String::new()),
        }
    }

    /// Creates and starts a container.
    pub fn start(&self, name: &str, image: &str, command: &[&str]) -> Result<String> {
        self.start_with(name, image, command, "{}")
    }

    /// The same with what CRI calls its configuration for Linux, in JSON.
    pub fn start_with(
        &self,
        name: &str,
        image: &str,
        command: &[&str],
        linux: &str,
    ) -> Result<String> {
        let folder = &self.folder;
        let command = command
            .iter()
            .map(|word| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let make = format!(
            r#"echo '{{ "metadata": {{ "name": "{name}" }}, "image": {{ "image": "{image}" }},
    "command": [{command}], "log_path": "{name}", "linux": {linux} }}' > {folder}/{name}.json"#
        );
        self.test.exec(&["bash", "-euc", &make])?.expect(0)?;
        let (pod, file) = (
            format!("{folder}/pod.json"),
            format!("{folder}/{name}.json"),
        );
        let id = crictl(self.test, &["create", &self.id, &file, &pod])?;
        crictl(self.test, &["start", &id])?;
        Ok(id)
    }

    /// Starts a guest and a Linux program that stay.
    pub fn start_both(&self) -> Result<[String; 2]> {
        let command = ["/sleep.wasm", "100"];
        let guest = self.start("guest", self.test.mode.image(), &command)?;
        let sidecar = self.start("sidecar", Mode::Runc.image(), &command)?;
        Ok([guest, sidecar])
    }

    /// Runs a container to its end, which must be this code.
    pub fn run(&self, name: &str, image: &str, command: &[&str], code: i32) -> Result<String> {
        let id = self.start(name, image, command)?;
        self.ends(&id, code)?;
        Ok(id)
    }

    /// That an orphan is reaped by the first process of the pid namespace of its containers, which
    /// leaves nothing behind.
    fn reaps_orphans(&self) -> Result<()> {
        let script = "(/bin/sleep 0 &); /bin/sleep 0.2; /bin/busybox ps -o stat | grep -c Z";
        let words = ["/bin/sh", "-c", script];
        self.run("orphan", Mode::Runc.image(), &words, 1).map(drop)
    }

    /// Waits until a container has ended with this code.
    pub fn ends(&self, id: &str, code: i32) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let template = "{{.status.state}} {{.status.exitCode}}";
            let words = ["inspect", "--output", "go-template", "--template", template];
            let seen = crictl(self.test, &[&words[..], &[id]].concat())?;
            if seen == format!("CONTAINER_EXITED {code}") {
                return Ok(());
            }
            ensure!(
                seen.starts_with("CONTAINER_RUNNING") && Instant::now() < deadline,
                "{seen}"
            );
        }
    }
}

fn containers_of_linux_run_in_pods_beside(test: &Test<'_>) -> Result<()> {
    let image = Mode::Runc.image();
    Pod::with(test, "runc", |pod| {
        pod.run("seven", image, &["/exit.wasm", "7"], 7)?;
        let hello = pod.run("hello", image, &["/hello.wasm"], 0)?;
        let logs = crictl(test, &["logs", &hello])?;
        ensure!(logs == "hello from the guest", "{logs}");
        Ok(())
    })
}

/// Both sorts of containers in one pod, whose pause container is a Linux program too.
fn guests_and_linux_programs_share_a_pod(test: &Test<'_>) -> Result<()> {
    for server in faults::servers(test) {
        both_sorts_share_a_pod(test, faults::handler(server))?;
    }
    Ok(())
}

fn both_sorts_share_a_pod(test: &Test<'_>, handler: &str) -> Result<()> {
    let (guests, linux) = (test.mode.image(), Mode::Runc.image());
    Pod::with(test, handler, |pod| {
        let [guest, sidecar] = pod.start_both()?;
        for (name, image) in [("hello-guest", guests), ("hello-linux", linux)] {
            let hello = pod.run(name, image, &["/hello.wasm"], 0)?;
            let logs = crictl(test, &["logs", &hello])?;
            ensure!(logs == "hello from the guest", "{logs}");
            pod.run(&format!("{name}-seven"), image, &["/exit.wasm", "7"], 7)?;
            let steady = pod.start(
                &format!("{name}-steady"),
                image,
                &["/grow.wasm", "32", "1000"],
            )?;
            is_counted(test, &steady, &steady).with_context(|| name.to_owned())?;
        }
        pod.reaps_orphans()?;
        for container in [&guest, &sidecar] {
            let shown = crictl(test, &["exec", "--sync", container, "/hello.wasm"])?;
            ensure!(shown == "hello from the guest", "{shown}");
            is_executed_with_streams(test, container)?;
            let shell = [
                "/bin/sh",
                "-c",
                "ls -d /proc/self/fd /dev/shm /sys/class; cat /etc/hosts",
            ];
            let words = [&["exec", "--sync", container][..], &shell].concat();
            let shown = crictl(test, &words)?;
            ensure!(
                shown.starts_with("/dev/shm\n/proc/self/fd\n/sys/class\n"),
                "{shown}"
            );
            ensure!(shown.contains("localhost"), "{shown}");
            let (pid, pods) = (pid_of(test, container)?, pod.pid()?);
            for kind in ["net", "ipc", "uts"] {
                let own = namespace_of(test, &pid, kind)?;
                let pods = namespace_of(test, &pods, kind)?;
                ensure!(own == pods, "{own} of {pid}, not {pods}");
            }
        }
        crictl(test, &["stop", "--timeout", "5", &guest, &sidecar])?;
        // Nobody but the pause container is the first process of a namespace, whom signals spare.
        pod.ends(&guest, 143)?;
        pod.ends(&sidecar, 143)?;
        crictl(test, &["rm", &guest, &sidecar])?;
        let left = crictl(test, &["ps", "--all", "--quiet", "--no-trunc"])?;
        ensure!(
            !left.contains(&guest) && !left.contains(&sidecar),
            "{guest} and {sidecar} were removed: {left}"
        );
        // Without force, as who has stopped it.
        let more = pod.start("more", guests, &["/sleep.wasm", "100"])?;
        crictl(test, &["stopp", &pod.id])?;
        pod.ends(&more, 137)?;
        crictl(test, &["rmp", &pod.id])?;
        Ok(())
    })
}

/// As the kubelet does when a pod is resized in place.
fn limits_are_changed_while_containers_run(test: &Test<'_>) -> Result<()> {
    const BEFORE: &str = r#"{ "resources": { "memory_limit_in_bytes": 134217728,
        "cpu_quota": 50000, "cpu_period": 100000 } }"#;
    let images = [
        ("guest", test.mode.image()),
        ("sidecar", Mode::Runc.image()),
    ];
    for server in faults::servers(test) {
        Pod::with(test, faults::handler(server), |pod| {
            for (name, image) in images {
                let id = pod.start_with(name, image, &["/sleep.wasm", "100"], BEFORE)?;
                let pid = pid_of(test, &id)?;
                let are_set = |memory, quota| -> Result<()> {
                    Limit::memory(memory).expect_set(test, &pid)?;
                    Limit::processor(quota).expect_set(test, &pid)
                };
                are_set(128 << 20, 50_000)?;
                let memory = ["update", "--memory", "67108864"];
                crictl(test, &[&memory[..], &[&id]].concat())?;
                are_set(64 << 20, 50_000)?;
                let quota = ["update", "--cpu-period", "100000", "--cpu-quota", "20000"];
                crictl(test, &[&quota[..], &[&id]].concat())?;
                are_set(64 << 20, 20_000)?;
                // containerd tells all that the container has, its rules on devices too.
                let shell = ["/bin/sh", "-c", "echo ahoy > /dev/null"];
                crictl(test, &[&["exec", &id], &shell[..]].concat())?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// By the streams of CRI, and not by `ExecSync` as probes are.
fn is_executed_with_streams(test: &Test<'_>, container: &str) -> Result<()> {
    let start = |words: &[&str]| test.start(&[&CRICTL[..], &["exec"], words].concat());
    let mut cat = start(&["--interactive", container, "/cat.wasm"])?;
    cat.write("ahoy\n")?;
    cat.close_stdin();
    let cat = cat.finish(LIMIT)?.expect(0)?;
    ensure!(cat.stdout == "ahoy\n", "{cat:?}");
    ensure!(cat.stderr.contains("after 5 bytes"), "{cat:?}");
    let seven = start(&[container, "/exit.wasm", "7"])?.finish(LIMIT)?;
    ensure!(
        seven.code == 1 && seven.stderr.contains("command terminated with exit code 7"),
        "{seven:?}"
    );
    Ok(())
}

/// The pid of a container's first process.
pub fn pid_of(test: &Test<'_>, container: &str) -> Result<String> {
    let words = [
        "inspect",
        "--output",
        "go-template",
        "--template",
        "{{.info.pid}}",
    ];
    crictl(test, &[&words[..], &[container]].concat())
}

/// A namespace of a process, by the kind's name below `/proc/<pid>/ns`.
pub fn namespace_of(test: &Test<'_>, pid: &str, kind: &str) -> Result<String> {
    let link = format!("/proc/{pid}/ns/{kind}");
    Ok(test.exec(&["readlink", &link])?.expect(0)?.stdout)
}

impl Pod<'_> {
    /// The pid that leads to its namespaces, usually of its pause container.
    fn pid(&self) -> Result<String> {
        let words = [
            "inspectp",
            "--output",
            "go-template",
            "--template",
            "{{.info.pid}}",
        ];
        crictl(self.test, &[&words[..], &[&self.id]].concat())
    }
}
