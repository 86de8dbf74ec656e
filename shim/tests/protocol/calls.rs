//! What the server does around a container: hooks that run outside of it, and Creates that
//! nobody waits for any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use trireme_container::state;
use trireme_shim::install::SERVER;
use trireme_shim::newcomers;
use trireme_tests::protocol::client::{Answer, Client, Pending};
use trireme_tests::protocol::methods::TASK_V2;

use crate::executor::{NEVER, NOTHING};
use crate::server::Server;

pub const LIMIT: Duration = Duration::from_secs(10);
pub const ID: &str = "one";

pub type Case = fn() -> Result<()>;

/// One trial for each behaviour.
pub fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 11] = [
        ("hooks_run_in_their_order", hooks_run_in_their_order),
        (
            "a_hook_that_fails_fails_create",
            a_hook_that_fails_fails_create,
        ),
        ("a_hook_that_hangs_is_ended", a_hook_that_hangs_is_ended),
        (
            "a_failed_create_runs_poststop",
            a_failed_create_runs_poststop,
        ),
        (
            "poststop_runs_after_the_servers_death",
            poststop_runs_after_the_servers_death,
        ),
        (
            "the_next_server_removes_what_was_lost",
            the_next_server_removes_what_was_lost,
        ),
        (
            "delete_ends_a_create_that_nobody_waits_for",
            delete_ends_a_create_that_nobody_waits_for,
        ),
        (
            "a_server_is_marked_when_its_pod_goes_on_without_its_own_task",
            a_server_is_marked_when_its_pod_goes_on_without_its_own_task,
        ),
        (
            "an_end_waits_for_a_client_that_comes_back",
            an_end_waits_for_a_client_that_comes_back,
        ),
        (
            "an_end_does_not_wait_for_a_client_that_kills",
            an_end_does_not_wait_for_a_client_that_kills,
        ),
        (
            "an_end_does_not_wait_for_a_client_that_has_started_it",
            an_end_does_not_wait_for_a_client_that_has_started_it,
        ),
    ];
    trials_of("calls", cases)
}

/// The trials of a module.
pub fn trials_of<const N: usize>(module: &str, cases: [(&str, Case); N]) -> Vec<Trial> {
    let trial = |(name, case): (&str, Case)| {
        let run = move || case().map_err(|error| Failed::from(format!("{error:#}")));
        Trial::test(format!("{module}::{name}"), run)
    };
    cases.into_iter().map(trial).collect()
}

/// What Exec is asked for a process of a specification.
pub fn exec_request(exec_id: &str, process: &Value) -> Value {
    json!({ "id": ID, "exec_id": exec_id, "spec": {
        "type_url": "types.containerd.io/opencontainers/runtime-spec/1/Process",
        "json": process,
    }})
}

/// A server with a bundle whose hooks write down what they are told.
pub struct Fixture {
    pub server: Server,
    pub client: Client,
    pub bundle: PathBuf,
}

impl Fixture {
    pub fn new(program: &str, hooks: impl FnOnce(&Path) -> Value) -> Result<Self> {
        let server = Server::start()?;
        let spec = json!({
            "ociVersion": "1.0.2",
            "process": { "args": [program], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
            "root": { "path": "rootfs" },
            "annotations": { "colour": "red" },
            "hooks": hooks(&server.tasks().join(ID)),
            "linux": { "namespaces": [{ "type": "pid" }, { "type": "mount" }] },
        });
        let bundle = server.bundle(ID, spec)?;
        let client = Client::connect(&server.socket(), TASK_V2)?;
        Ok(Self {
            server,
            client,
            bundle,
        })
    }

    /// The specification in the bundle.
    pub fn spec(&self) -> Result<Value> {
        let text = fs::read(self.bundle.join("config.json"))?;
        Ok(serde_json::from_slice(&text)?)
    }

    pub fn create(&mut self) -> Result<Answer> {
        self.client.call("Create", &self.request())
    }

    /// Makes another container of the pod that the first one is the own task of.
    fn create_member(&mut self, id: &str) -> Result<()> {
        let mut spec = self.spec()?;
        spec["annotations"]["io.kubernetes.cri.sandbox-id"] = json!(ID);
        let bundle = self.server.bundle(id, spec)?;
        let member = json!({ "id": id, "bundle": bundle });
        self.client.call("Create", &member)?.expect()?;
        Ok(())
    }

    /// How long it took, from a moment on, until a wait was answered.
    fn told(&self, wait: &Pending, since: Instant) -> Result<Duration> {
        let answer = self.client.answer(wait, LIMIT)?;
        let took = since.elapsed();
        answer.context("the end was never told")?.expect()?;
        Ok(took)
    }

    /// That a wait is answered without a delay; and removes the container.
    fn expect_told_at_once(&mut self, wait: &Pending, since: Instant) -> Result<()> {
        let took = self.told(wait, since)?;
        ensure!(took < COMING_BACK, "told after {took:?}");
        self.call("Delete")?;
        self.expect_gone()
    }

    pub fn request(&self) -> Value {
        json!({ "id": ID, "bundle": self.bundle })
    }

    pub fn call(&mut self, method: &str) -> Result<Value> {
        self.client.call(method, &json!({ "id": ID }))?.expect()
    }

    /// What the hooks have written: their names and what they were told.
    fn written(&self) -> Result<Vec<(String, Value)>> {
        let text = fs::read_to_string(self.bundle.join("written")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let (name, state) = line.split_once(' ').context("a name and a state")?;
                Ok((name.to_owned(), serde_json::from_str(state)?))
            })
            .collect()
    }

    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self.written()?.into_iter().map(|(name, _)| name).collect())
    }

    /// That nothing of the container is left but its bundle.
    pub fn expect_gone(&self) -> Result<()> {
        let left = state::all(&self.server.folder())?;
        ensure!(left.is_empty(), "{left:?}");
        let cgroups = self.server.cgroups(ID);
        ensure!(cgroups.is_empty(), "{cgroups:?}");
        Ok(())
    }
}

/// A hook that appends its name and its standard input to a file.
pub fn writing(bundle: &Path, name: &str) -> Value {
    let file = bundle.join("written");
    let script = format!("echo \"$NAME $(cat)\" >> {}", file.display());
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": [format!("NAME={name}"), "PATH=/usr/bin:/bin"] })
}

fn running(script: &str, timeout: i64) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], "timeout": timeout })
}

pub fn refusal(answer: Answer) -> Result<String> {
    match answer {
        Answer::Refusal { message, .. } => Ok(message),
        Answer::Response(value) => bail!("not refused: {value}"),
    }
}

fn hooks_run_in_their_order() -> Result<()> {
    let mut fixture = Fixture::new("/sleep.wasm", |bundle| {
        json!({
            "prestart": [writing(bundle, "prestart")],
            "createRuntime": [writing(bundle, "createRuntime")],
            "poststart": [writing(bundle, "poststart")],
            "poststop": [writing(bundle, "poststop")],
        })
    })?;
    let pid = fixture.create()?.expect()?["pid"].clone();
    ensure!(
        fixture.names()? == ["prestart", "createRuntime"],
        "{:?}",
        fixture.names()?
    );
    fixture.call("Start")?;
    fixture
        .client
        .call("Kill", &json!({ "id": ID, "signal": 9 }))?
        .expect()?;
    fixture.call("Wait")?;
    fixture.call("Delete")?;
    let written = fixture.written()?;
    let expected = [
        ("prestart", "creating", pid.clone()),
        ("createRuntime", "creating", pid.clone()),
        ("poststart", "running", pid),
        ("poststop", "stopped", json!(0)),
    ];
    ensure!(written.len() == expected.len(), "{written:?}");
    for ((name, state), (expected, status, pid)) in written.iter().zip(expected) {
        let told = json!({
            "ociVersion": state["ociVersion"], "id": ID, "status": status, "pid": pid,
            "bundle": fixture.bundle, "annotations": { "colour": "red" },
        });
        ensure!(
            name == expected && *state == told,
            "{name} {state}, not {expected} {told}"
        );
    }
    fixture.expect_gone()
}

fn a_hook_that_fails_fails_create() -> Result<()> {
    let mut fixture = Fixture::new("/sleep.wasm", |bundle| {
        json!({
            "createRuntime": [running("echo no network >&2; exit 3", 0)],
            "poststop": [writing(bundle, "poststop")],
        })
    })?;
    let message = refusal(fixture.create()?)?;
    ensure!(
        message.contains("/bin/sh") && message.contains("no network"),
        "{message}"
    );
    ensure!(fixture.names()? == ["poststop"], "{:?}", fixture.names()?);
    fixture.expect_gone()
}

fn a_hook_that_hangs_is_ended() -> Result<()> {
    let mut fixture = Fixture::new(
        "/sleep.wasm",
        |_| json!({ "createRuntime": [running("exec sleep 60", 1)] }),
    )?;
    let message = refusal(fixture.create()?)?;
    ensure!(message.contains("took more than 1s"), "{message}");
    fixture.expect_gone()
}

fn a_failed_create_runs_poststop() -> Result<()> {
    let mut fixture = Fixture::new(NOTHING, |bundle| {
        json!({
            "createRuntime": [writing(bundle, "createRuntime")],
            "poststop": [writing(bundle, "poststop")],
        })
    })?;
    let message = refusal(fixture.create()?)?;
    ensure!(message.ends_with("no such file or directory"), "{message}");
    ensure!(
        fixture.names()? == ["createRuntime", "poststop"],
        "{:?}",
        fixture.names()?
    );
    fixture.expect_gone()
}

/// A container that ran when its server was killed, as `start` and containerd leave its bundle.
fn lost() -> Result<Fixture> {
    let mut fixture = Fixture::new(
        "/sleep.wasm",
        |bundle| json!({ "poststop": [writing(bundle, "poststop")] }),
    )?;
    fixture.create()?.expect()?;
    fixture.call("Start")?;
    let state = fixture.server.folder().join("default").join(ID);
    trireme_core::bundle::link(&fixture.bundle, &state)?;
    let address = format!("unix://{}", fixture.server.socket().display());
    fs::write(fixture.bundle.join("address"), address)?;
    fixture.server.kill()?;
    ensure!(fixture.names()?.is_empty(), "{:?}", fixture.names()?);
    Ok(fixture)
}

/// Runs what `delete` runs where there is something left.
pub fn clean_up(fixture: &Fixture) -> Result<()> {
    let mut command = Command::new(fixture.server.program(SERVER));
    let output = command.arg("cleanup").arg(&fixture.bundle).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

fn poststop_runs_after_the_servers_death() -> Result<()> {
    let fixture = lost()?;
    clean_up(&fixture)?;
    ensure!(fixture.names()? == ["poststop"], "{:?}", fixture.names()?);
    fixture.expect_gone()
}

/// A server that comes before the clean-up does it, and the clean-up does not wait for what is done.
fn the_next_server_removes_what_was_lost() -> Result<()> {
    let mut fixture = lost()?;
    fixture.server.start_next()?;
    let mut client = Client::connect(&fixture.server.socket(), TASK_V2)?;
    let started = Instant::now();
    clean_up(&fixture)?;
    let took = started.elapsed();
    ensure!(took < Duration::from_secs(2), "{took:?}");
    // It answers when all is done.
    let message = refusal(client.call("Delete", &json!({ "id": ID }))?)?;
    ensure!(message.contains("not created"), "{message}");
    ensure!(fixture.names()? == ["poststop"], "{:?}", fixture.names()?);
    fixture.expect_gone()
}

fn delete_ends_a_create_that_nobody_waits_for() -> Result<()> {
    let mut fixture = Fixture::new(NEVER, |_| json!({}))?;
    let create = fixture.client.send("Create", &fixture.request())?;
    let deadline = Instant::now() + LIMIT;
    while state::all(&fixture.server.folder())?.is_empty() {
        ensure!(Instant::now() < deadline, "Create has not begun");
    }
    let message = refusal(fixture.client.call("Delete", &json!({ "id": ID }))?)?;
    ensure!(message.contains("not created"), "{message}");
    fixture.expect_gone()?;
    let answer = fixture
        .client
        .answer(&create, LIMIT)?
        .context("Create goes on")?;
    let message = refusal(answer)?;
    ensure!(message.contains("deleted while it was made"), "{message}");
    Ok(())
}

/// containerd runs no `delete` for what is left of such a pod.
fn a_server_is_marked_when_its_pod_goes_on_without_its_own_task() -> Result<()> {
    const MEMBER: &str = "two";
    const LATE: &str = "three";
    let mut fixture = Fixture::new("/sleep.wasm", |_| json!({}))?;
    fixture.create()?.expect()?;
    fixture.create_member(MEMBER)?;
    let mark = fixture.server.folder().with_extension("new");
    ensure!(!mark.exists(), "it has its task");
    fixture.call("Delete")?;
    ensure!(mark.exists(), "nobody would clean up after {MEMBER}");
    // Its Start was on its way when the pod went.
    fixture.create_member(LATE)?;
    ensure!(mark.exists(), "nobody would clean up after {LATE}");
    fixture.server.kill()?;
    let run = fixture.server.folder();
    let run = run.parent().context("a folder of servers")?;
    newcomers::sweep(run, Duration::ZERO, |server| {
        let deadline = Instant::now() + LIMIT;
        for left in state::all(server).map_err(std::io::Error::other)? {
            state::clean(&left, deadline).map_err(std::io::Error::other)?;
        }
        Ok(())
    });
    ensure!(
        !mark.exists() && !fixture.server.folder().exists(),
        "{run:?}"
    );
    ensure!(
        fixture.server.cgroups(MEMBER).is_empty(),
        "a cgroup is left"
    );
    Ok(())
}

/// How long a client that comes back may take to put a task into its books.
const COMING_BACK: Duration = Duration::from_secs(1);
/// More than a client that has started a task may take to begin to wait for it.
const STARTED: Duration = Duration::from_millis(300);

/// A guest that runs, for a client that has seen it start and for one that comes later and waits;
/// with the moment of that.
fn waited_for() -> Result<(Fixture, Client, Pending, Instant)> {
    let mut fixture = Fixture::new("/sleep.wasm", |_| json!({}))?;
    fixture.create()?.expect()?;
    fixture.client.send("Wait", &json!({ "id": ID }))?;
    fixture.call("Start")?;
    std::thread::sleep(STARTED);
    let mut second = Client::connect(&fixture.server.socket(), TASK_V2)?;
    std::mem::swap(&mut fixture.client, &mut second);
    let sent = Instant::now();
    let wait = fixture.client.send("Wait", &json!({ "id": ID }))?;
    Ok((fixture, second, wait, sent))
}

fn an_end_waits_for_a_client_that_comes_back() -> Result<()> {
    let (mut fixture, first, wait, sent) = waited_for()?;
    drop(first);
    // It is served when the connection before it is gone.
    fixture.call("State")?;
    fixture.server.end(ID)?;
    let took = fixture.told(&wait, sent)?;
    ensure!(took >= COMING_BACK, "told after {took:?}");
    // Whoever knows it may ask again.
    let sent = Instant::now();
    let again = fixture.client.send("Wait", &json!({ "id": ID }))?;
    fixture.expect_told_at_once(&again, sent)
}

fn an_end_does_not_wait_for_a_client_that_kills() -> Result<()> {
    let (mut fixture, first, wait, sent) = waited_for()?;
    drop(first);
    let kill = json!({ "id": ID, "signal": 9 });
    fixture.client.call("Kill", &kill)?.expect()?;
    fixture.expect_told_at_once(&wait, sent)
}

/// Clients written in Go send both calls at the same time.
fn an_end_does_not_wait_for_a_client_that_has_started_it() -> Result<()> {
    let mut fixture = Fixture::new("/sleep.wasm", |_| json!({}))?;
    fixture.create()?.expect()?;
    fixture.call("Start")?;
    let sent = Instant::now();
    let wait = fixture.client.send("Wait", &json!({ "id": ID }))?;
    fixture.server.end(ID)?;
    fixture.expect_told_at_once(&wait, sent)
}
