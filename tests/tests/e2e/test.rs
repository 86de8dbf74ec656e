//! One case on one host: the words that cases are written in, and what is checked after each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use trireme_tests::engines::{Engine, differences};
use trireme_tests::leaks::{Snapshot, wait_until_clean};

use crate::cases::{Case, Needs, wait_until};
use crate::command::{LIMIT, Output, Running};
use crate::hosts::{Host, Hosts, SECOND_NAMESPACE};
use crate::mode::Mode;

/// How many emulated machines may die under a case.
const MACHINES: u32 = 3;
const CLEAN_LIMIT: Duration = Duration::from_secs(10);

/// A case at work.
pub struct Test<'a> {
    pub host: &'a Host,
    pub mode: Mode,
    /// The id of the case's container; a second one gets a suffix.
    pub id: String,
}

/// Runs a case, then looks for what it left behind; says what was seen where that is wrong.
pub fn run(hosts: &Hosts, index: usize, mode: Mode, case: &Case) -> Result<(), String> {
    let mut machines = 0;
    loop {
        let mut host = hosts.take(index).map_err(|error| format!("{error:#}"))?;
        let Err(error) = run_on(&host, mode, case) else {
            return Ok(());
        };
        machines += 1;
        if host.has_died() && machines < MACHINES {
            eprintln!(
                "e2e: once more, on another machine: {}: {error:#}",
                case.name
            );
            continue;
        }
        let whole = match host.keep_log(&format!("{}-{}", mode.name(), case.name)) {
            Ok(file) => format!("all of it is in {}", file.display()),
            Err(error) => format!("the rest could not be kept: {error:#}"),
        };
        let tail = host.log_tail();
        // Whatever it has left is nothing to the next one.
        host.end();
        return Err(format!(
            "the end of containerd's log ({whole}):\n{tail}\n{error:#}"
        ));
    }
}

fn run_on(host: &Host, mode: Mode, case: &Case) -> Result<()> {
    let before = Snapshot::take(&host.instance)?;
    let test = Test {
        host,
        mode,
        id: case.name.replace('_', "-"),
    };
    // A panic of a case must not keep the next from a clean host.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (case.run)(&test)))
        .unwrap_or_else(|_| bail!("the case panicked"));
    test.remove_all();
    let removed = match case.needs {
        Needs::Docker | Needs::Machine if test.has_docker() => {
            test.remove_all_of_docker();
            Ok(())
        }
        Needs::Kube => test.remove_all_of_kubernetes(),
        _ => Ok(()),
    };
    let left = wait_until_clean(&host.instance, &before, CLEAN_LIMIT)?;
    as_expected(mode, case, result)?;
    removed.context("remove the case's pods")?;
    let list: Vec<_> = left.iter().map(ToString::to_string).collect();
    ensure!(
        left.is_empty(),
        "left behind after {CLEAN_LIMIT:?}:\n{}",
        list.join("\n")
    );
    Ok(())
}

/// Turns the result of a case around where the engine is known to differ.
fn as_expected(mode: Mode, case: &Case, result: Result<()>) -> Result<()> {
    let known = mode
        .engine()
        .and_then(|engine| differences::find(engine, case.name));
    let Some((seen, line)) = known else {
        return result;
    };
    match result {
        Ok(()) => bail!("it passes, against what is listed: remove it from {line:?}"),
        Err(error) if format!("{error:#}").contains(seen) => Ok(()),
        Err(error) => Err(error.context(format!("not `{seen}`, as in {line:?}"))),
    }
}

impl Test<'_> {
    /// The name of the engine; without one, words that no message holds.
    pub fn engine(&self) -> &'static str {
        self.mode.engine().map_or("no engine", Engine::name)
    }

    /// The engines of this host.
    pub fn engines(&self) -> impl Iterator<Item = Engine> {
        let kind = self.host.instance.kind.name;
        Engine::ALL
            .iter()
            .copied()
            .filter(|engine| engine.is_on(kind))
    }

    /// Whether the host has cgroup v2 alone.
    pub fn is_on_cgroup2(&self) -> bool {
        self.host.instance.is_on_cgroup2()
    }

    /// Whether the host has Docker.
    pub fn has_docker(&self) -> bool {
        self.host.instance.kind.docker
    }

    /// Copies a plugin of this build to a folder of the host.
    pub fn install_plugin(&self, file: &str, folder: &str) -> Result<()> {
        self.host.install_plugin(file, folder)
    }

    /// Does something while the host has another configuration.
    pub fn with_config<T>(&self, text: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        const FILE: &str = "/etc/trireme/config.toml";
        let before = format!("{FILE}.before");
        self.exec(&["cp", FILE, &before])?.expect(0)?;
        self.host.write(FILE, &mut text.as_bytes())?;
        let result = act();
        self.exec(&["mv", &before, FILE])?.expect(0)?;
        result
    }

    /// Ends containerd as `kill -9` does. A bundle that it was about to remove then has a dot before
    /// its name already (`atomicDelete` in containerd's `core/runtime/v2/bundle.go`), is never looked
    /// at again, whatever runs the task, and is removed here. So is what it was about to write of a pod's
    /// network: the CNI library cannot read an empty file, and no pod with one can be removed
    /// (`getCachedResult` in its `libcni/api.go`).
    pub fn kill_containerd(&self) -> Result<()> {
        self.host.act("--stop-containerd")?;
        let bundles = "/run/containerd/io.containerd.{runtime.v2.task,sandbox.controller.v1.shim}";
        let script = format!(
            "rm --recursive --force --one-file-system {bundles}/*/.[!.]*
            [ ! -e /var/lib/cni/results ] || find /var/lib/cni/results -type f -empty -delete"
        );
        self.exec(&["bash", "-ec", &script])?.expect(0).map(drop)
    }

    /// Starts containerd again over the same state.
    pub fn start_containerd(&self) -> Result<()> {
        self.host.act("--start-containerd")
    }

    /// The end of containerd's log.
    pub fn log(&self) -> String {
        self.host.log_tail()
    }

    /// Starts a command in the host.
    pub fn start(&self, words: &[&str]) -> Result<Running> {
        Running::start(&mut self.host.command(words))
    }

    /// Runs a command in the host to its end.
    pub fn exec(&self, words: &[&str]) -> Result<Output> {
        let mut running = self.start(words)?;
        running.close_stdin();
        running.finish(LIMIT)
    }

    /// Runs `ctr`, which must succeed.
    pub fn ctr(&self, words: &[&str]) -> Result<Output> {
        self.exec(&[&["ctr"], words].concat())?.expect(0)
    }

    /// The words of `ctr run` with this case's runtime, image and id.
    pub fn run_words<'b>(&'b self, flags: &[&'b str], guest: &[&'b str]) -> Vec<&'b str> {
        self.run_words_of(self.mode.runtime(), self.mode.image(), flags, guest)
    }

    fn run_words_of<'b>(
        &'b self,
        runtime: &'b str,
        image: &'b str,
        flags: &[&'b str],
        guest: &[&'b str],
    ) -> Vec<&'b str> {
        [
            &["ctr", "run", "--runtime", runtime],
            flags,
            &[image, &self.id],
            guest,
        ]
        .concat()
    }

    /// `ctr run --rm` of a guest to its end, with nothing on stdin.
    pub fn run(&self, flags: &[&str], guest: &[&str]) -> Result<Output> {
        self.exec(&self.run_words(&[&["--rm"], flags].concat(), guest))
    }

    /// The same with another runtime or image.
    pub fn run_of(&self, runtime: &str, image: &str, guest: &[&str]) -> Result<Output> {
        self.exec(&self.run_words_of(runtime, image, &["--rm"], guest))
    }

    /// `ctr run --rm` of a Linux program by the case's runtime.
    pub fn run_linux(&self, image: &str, flags: &[&str], program: &[&str]) -> Result<Output> {
        let flags = [&["--rm"], flags].concat();
        self.exec(&self.run_words_of(self.mode.runtime(), image, &flags, program))
    }

    /// `ctr run --rm` of a guest that goes on.
    pub fn start_guest(&self, flags: &[&str], guest: &[&str]) -> Result<Running> {
        self.start(&self.run_words(&[&["--rm"], flags].concat(), guest))
    }

    /// `ctr run -d` of a guest without output.
    pub fn run_detached(&self, flags: &[&str], guest: &[&str]) -> Result<()> {
        self.run_detached_of(self.mode.image(), flags, guest)
    }

    /// The same with another image.
    pub fn run_detached_of(&self, image: &str, flags: &[&str], guest: &[&str]) -> Result<()> {
        let flags = [&["-d", "--null-io"], flags].concat();
        self.exec(&self.run_words_of(self.mode.runtime(), image, &flags, guest))?
            .expect(0)?;
        Ok(())
    }

    /// The pid, in the host, of the container's first process, and the task's status.
    pub fn task(&self) -> Result<(String, String)> {
        let list = self.ctr(&["task", "ls"])?;
        let line = list
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(&self.id));
        let words: Vec<_> = line
            .with_context(|| format!("{list:?}"))?
            .split_whitespace()
            .collect();
        match words[..] {
            [_, pid, status] => Ok((pid.to_owned(), status.to_owned())),
            _ => bail!("a line of three words was expected: {list:?}"),
        }
    }

    /// Kills the task of a detached container and removes both.
    pub fn remove(&self) -> Result<()> {
        self.exec(&["ctr", "task", "kill", "--signal", "SIGKILL", &self.id])?;
        self.wait_for_status("STOPPED")?;
        self.exec(&["ctr", "task", "delete", &self.id])?;
        self.ctr(&["container", "delete", &self.id])?;
        Ok(())
    }

    /// Waits until `ctr task ls` tells the task.
    pub fn wait_for_task(&self) -> Result<()> {
        wait_until(|| self.task())
            .context("the task never came")
            .map(drop)
    }

    /// Waits until `ctr task ls` tells this status.
    pub fn wait_for_status(&self, status: &str) -> Result<()> {
        wait_until(|| {
            let (_, now) = self.task()?;
            ensure!(now == status, "still {now}, not {status}");
            Ok(())
        })
    }

    /// That the host still runs guests after what this case did to it. A task of this name whose
    /// server has died may be one to containerd for a moment more.
    pub fn next_container_runs(&self) -> Result<()> {
        let is_known = format!("task {}: already exists", self.id);
        let deadline = Instant::now() + LIMIT;
        loop {
            let output = self.run(&[], &["/hello.wasm"])?;
            if output.stderr.contains(&is_known) && Instant::now() < deadline {
                continue;
            }
            let output = output.expect(0)?;
            ensure!(output.stdout == "hello from the guest\n", "{output:?}");
            return Ok(());
        }
    }

    /// Removes every container, whatever its state: a case that failed leaves some.
    fn remove_all(&self) {
        let script = format!(
            "for namespace in default {SECOND_NAMESPACE}; do\n\
             for id in $(ctr -n $namespace container ls -q); do\n\
             ctr -n $namespace task delete --force $id\n\
             ctr -n $namespace container delete $id\n\
             done\n\
             done"
        );
        if let Err(error) = self.exec(&["sh", "-c", &script]) {
            eprintln!("e2e: after {}: {error:#}", self.id);
        }
    }

    /// Runs `docker`, which must succeed, and returns what it printed, without the last newline.
    pub fn docker(&self, words: &[&str]) -> Result<String> {
        let output = self.exec(&[&["docker"], words].concat())?.expect(0)?;
        Ok(output.stdout.trim_end().to_owned())
    }

    /// The words of `docker run` with this case's runtime, image and id.
    pub fn docker_words<'b>(&'b self, flags: &[&'b str], guest: &[&'b str]) -> Vec<&'b str> {
        [
            &["docker", "run", "--name", &self.id, "--runtime"][..],
            &[self.mode.runtime()],
            flags,
            // Images have an entrypoint of their own.
            &["--entrypoint", guest[0], self.mode.image()],
            &guest[1..],
        ]
        .concat()
    }

    /// `docker run` of a guest to its end, with nothing on stdin; the container is left.
    pub fn docker_run(&self, flags: &[&str], guest: &[&str]) -> Result<Output> {
        self.exec(&self.docker_words(flags, guest))
    }

    /// What `docker inspect` tells by a template.
    pub fn inspect(&self, template: &str) -> Result<String> {
        self.docker(&["inspect", "--format", template, &self.id])
    }

    /// Waits until `docker inspect` tells this by a template.
    pub fn wait_for_inspect(&self, template: &str, wanted: &str) -> Result<()> {
        wait_until(|| {
            let seen = self.inspect(template)?;
            ensure!(
                seen == wanted,
                "{template} is still `{seen}`, not `{wanted}`"
            );
            Ok(())
        })
    }

    fn remove_all_of_docker(&self) {
        let script = "docker ps -aq | xargs -r docker rm --force; docker network prune --force";
        if let Err(error) = self.exec(&["sh", "-c", script]) {
            eprintln!("e2e: after {}: {error:#}", self.id);
        }
    }

    /// The case's namespace of the cluster: the next mode need not wait until it has gone.
    pub fn namespace(&self) -> String {
        format!("{}-{}", self.mode.name().replace('_', "-"), self.id)
    }

    /// Removes the case's namespace of the cluster, and what the kubelet keeps of pods that have
    /// gone until it looks for it once a minute. It may be at the same containers just then, and of
    /// two who remove one the second is refused, so that this is tried until all have gone.
    fn remove_all_of_kubernetes(&self) -> Result<()> {
        let script = format!(
            "kubectl delete namespace {0} --ignore-not-found --wait=false\n\
             kubectl -n {0} delete pods --all --grace-period=1 --timeout=60s\n\
             until [ -z \"$(crictl pods -q --state NotReady)\" ]; do\n\
             crictl rmp $(crictl pods -q --state NotReady) || true\n\
             done",
            self.namespace()
        );
        let words = ["sh", "-ec", &script];
        let running = Running::start(&mut self.host.command(&words))?;
        running.finish(LIMIT * 3)?.expect(0).map(drop)
    }
}
