//! Pods whose parties are killed: what is concerned is told, nothing else is, and nothing is left.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::super::{cases, soak};
use super::fleet::{AT_A_TIME, All, Fleet, Made, Plan, Seen, Wanted};
use crate::command::LIMIT;
use crate::mode::{Mode, Server};
use crate::test::Test;

cases! {
    needs: Cri,
    as_with_runc: [],
    wasm: [],
    on_each_host: [
        a_killed_container_is_told_alone,
        a_killed_server_is_told_with_its_pods_alone,
        containerd_comes_back_to_all_its_pods,
        ends_while_containerd_comes_up_are_told,
        pods_that_lost_server_and_containerd_are_told,
    ],
}

/// The servers that a case is tried with: both where there is no case for the other.
pub fn servers(test: &Test<'_>) -> Vec<Server> {
    match test.mode {
        Mode::Wasm(trireme_tests::engines::Engine::Wasmtime, server) => vec![server],
        _ => Server::BOTH.to_vec(),
    }
}

/// The handler of a server among those that the configuration of CRI names.
pub fn handler(server: Server) -> &'static str {
    match server {
        Server::PerPod => "wasm",
        Server::PerNode => "wasm-node",
    }
}

/// The handlers that lead to a server: the second one, where there is one, makes its pods itself.
pub fn handlers(test: &Test<'_>, server: Server) -> Vec<String> {
    let handler = handler(server);
    let is_there = test.host.instance.kind.config.contains("sandboxer");
    let second = is_there.then(|| format!("{handler}-sandbox"));
    std::iter::once(handler.to_owned()).chain(second).collect()
}

fn each(test: &Test<'_>, act: impl Fn(&Fleet<'_>, Server) -> Result<()>) -> Result<()> {
    for server in servers(test) {
        Fleet::with(test, |fleet| act(fleet, server)).with_context(|| server.name().to_owned())?;
    }
    Ok(())
}

/// A pod with guests and a Linux program.
pub fn mixed(test: &Test<'_>, name: &str, handler: &str) -> Plan {
    Plan {
        name: name.to_owned(),
        handler: handler.to_owned(),
        containers: vec![
            Wanted::guest(test, "clock", &["/tick.wasm"]),
            Wanted::guest(test, "guest", &["/sleep.wasm", "1000"]),
            Wanted::sidecar(9),
        ],
    }
}

/// A pod of runc.
fn of_runc(name: &str) -> Plan {
    Plan {
        name: name.to_owned(),
        handler: "runc".to_owned(),
        containers: vec![Wanted::sidecar(9)],
    }
}

/// What CRI tells of a container.
pub fn of<'a>(all: &'a All, id: &str) -> Result<&'a Seen> {
    all.get(id).with_context(|| format!("no {id} in {all:?}"))
}

/// That containers go on with the processes that they had.
pub fn go_on(before: &All, now: &All, pods: &[&Made]) -> Result<()> {
    for id in pods.iter().flat_map(|pod| pod.ids()) {
        let (before, now) = (of(before, id)?, of(now, id)?);
        ensure!(
            now.runs() && now.pid == before.pid,
            "{id}: {now:?}, it was {before:?}"
        );
    }
    Ok(())
}

/// That a container's end is told, as that of one whose server was lost: by `delete`, or by CRI,
/// which knows no more than that it is gone.
pub fn is_told_lost(seen: &Seen) -> Result<()> {
    let is_told = match seen.code {
        137 => seen.reason == "Error",
        255 => ["Error", "Unknown"].contains(&seen.reason.as_str()),
        _ => false,
    };
    ensure!(seen.has_ended() && is_told, "{seen:?}");
    Ok(())
}

/// That only these pods are ready.
pub fn are_ready(fleet: &Fleet<'_>, pods: &[&Made]) -> Result<()> {
    let wanted: BTreeSet<_> = pods.iter().map(|pod| pod.id.clone()).collect();
    let deadline = Instant::now() + LIMIT;
    loop {
        let ready: BTreeSet<_> = fleet.ready()?.into_iter().collect();
        if ready == wanted {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "ready: {ready:?}, not {wanted:?}"
        );
    }
}

fn a_killed_container_is_told_alone(test: &Test<'_>) -> Result<()> {
    each(test, |fleet, server| {
        let plan = |name| mixed(test, name, handler(server));
        let pods = fleet.up(&[plan("one"), plan("two")])?;
        let [one, two] = &pods[..] else {
            unreachable!()
        };
        let mut before = fleet.look()?;
        for victim in ["guest", "sidecar"] {
            let id = one.of(victim)?;
            fleet.signal("KILL", of(&before, id)?.pid)?;
            let now = fleet.look_until(|all| {
                let seen = of(all, id)?;
                ensure!(seen.has_ended() && seen.code == 137, "{victim}: {seen:?}");
                Ok(())
            })?;
            before.insert(id.to_owned(), of(&now, id)?.clone());
            ensure!(
                now == before,
                "{victim} was killed: {now:?}, before {before:?}"
            );
        }
        are_ready(fleet, &[one, two])?;
        fleet.all_execute(&[one.of("clock")?, two.of("guest")?, two.of("sidecar")?])?;
        // In the place of one that has ended there may be another.
        let again = fleet.add(one, &Wanted::guest(test, "again", &["/exit.wasm", "7"]))?;
        fleet.look_until(|all| {
            let seen = of(all, &again)?;
            ensure!(seen.has_ended() && seen.code == 7, "{seen:?}");
            Ok(())
        })?;
        Ok(())
    })
}

/// The next pod comes at once, as the kubelet makes it: before everything of the last is gone.
fn a_killed_server_is_told_with_its_pods_alone(test: &Test<'_>) -> Result<()> {
    each(test, |fleet, server| {
        let mut plans = Vec::new();
        for handler in handlers(test, server) {
            for number in 0..if soak() { 20 } else { 2 } {
                plans.push(mixed(test, &format!("{handler}-{number}"), &handler));
            }
        }
        // A handler of the same engine has a server of its own.
        let others = [mixed(test, "other", "wasmtime"), of_runc("runc")];
        let concerned = plans.len();
        plans.extend(others);
        let pods = fleet.up(&plans)?;
        let (pods, others) = pods.split_at(concerned);
        let before = fleet.look()?;
        let first = fleet.server(of(&before, pods[0].of("guest")?)?.pid)?;
        fleet.signal("KILL", first)?;
        let next = fleet.one(&mixed(test, "next", handler(server)))?;
        let (lost, alive): (Vec<_>, Vec<_>) = match server {
            Server::PerPod => (pods[..1].iter().collect(), pods[1..].iter().collect()),
            Server::PerNode => (pods.iter().collect(), Vec::new()),
        };
        let alive = [alive, others.iter().collect()].concat();
        let now = fleet.look_until(|all| {
            for id in lost.iter().flat_map(|pod| pod.ids()) {
                is_told_lost(of(all, id)?)?;
            }
            Ok(())
        })?;
        go_on(&before, &now, &alive)?;
        are_ready(fleet, &[&alive[..], &[&next]].concat())?;
        let (other, runc) = (&others[0], &others[1]);
        fleet.all_execute(&[
            next.of("guest")?,
            next.of("sidecar")?,
            other.of("guest")?,
            other.of("sidecar")?,
            runc.of("sidecar")?,
        ])?;
        fleet.stop(&[&next, other])?;
        let now = fleet.look()?;
        for pod in [&next, other] {
            ended_when_asked(&now, pod)?;
        }
        Ok(())
    })
}

/// That all of a [`mixed`] pod has ended by SIGTERM, so within its time.
pub fn ended_when_asked(all: &All, pod: &Made) -> Result<()> {
    for (name, code) in [("clock", 143), ("guest", 143), ("sidecar", 9)] {
        let seen = of(all, pod.of(name)?)?;
        ensure!(
            seen.has_ended() && seen.code == code,
            "{name} of {}: {seen:?}",
            pod.name
        );
    }
    Ok(())
}

/// While containerd is away one guest ends by itself, one is ended, and so is a Linux program.
fn containerd_comes_back_to_all_its_pods(test: &Test<'_>) -> Result<()> {
    let count = if soak() { 20 } else { 4 };
    each(test, |fleet, server| {
        let handlers = handlers(test, server);
        let mut plans: Vec<_> = (0..count)
            .map(|n| mixed(test, &format!("pod-{n}"), &handlers[n % handlers.len()]))
            .collect();
        // The last one, so that it ends late enough.
        let short = Wanted::guest(test, "short", &["/sleep.wasm", "5", "7"]);
        plans[count - 1].containers.push(short);
        let pods = fleet.up(&plans)?;
        let before = fleet.look()?;
        test.kill_containerd()?;
        let pid_of =
            |pod: &Made, name: &str| Ok::<_, anyhow::Error>(of(&before, pod.of(name)?)?.pid);
        let short = pid_of(&pods[count - 1], "short")?;
        ensure!(is_alive(test, short)?, "it has ended too early");
        let ended = [(&pods[0], "guest", 143), (&pods[1], "sidecar", 9)];
        for (pod, name, _) in &ended {
            fleet.signal("TERM", pid_of(pod, name)?)?;
        }
        wait_for_ends(
            test,
            &[
                short,
                pid_of(&pods[0], "guest")?,
                pid_of(&pods[1], "sidecar")?,
            ],
        )?;
        fleet.start_containerd()?;
        let ended = [&ended[..], &[(&pods[count - 1], "short", 7)]].concat();
        let now = fleet.look_until(|all| {
            for (pod, name, code) in &ended {
                let seen = of(all, pod.of(name)?)?;
                ensure!(seen.has_ended() && seen.code == *code, "{name}: {seen:?}");
            }
            Ok(())
        })?;
        let mut rest = before.clone();
        for (pod, name, _) in &ended {
            let id = pod.of(name)?;
            rest.insert(id.to_owned(), of(&now, id)?.clone());
        }
        ensure!(now == rest, "{now:?}, before {before:?}");
        are_ready(fleet, &pods.iter().collect::<Vec<_>>())?;
        fleet.all_execute(&[pods[1].of("guest")?, pods[0].of("sidecar")?])?;
        log_goes_on(fleet, &pods[0])?;
        fleet.stop(&pods[2..].iter().collect::<Vec<_>>())?;
        let now = fleet.look()?;
        pods[2..]
            .iter()
            .try_for_each(|pod| ended_when_asked(&now, pod))
    })
}

/// One after another is killed while containerd takes containers into its store; what 1.7 is told
/// of before, it forgets (docs/decisions/0031-a-client-that-comes-back.md).
fn ends_while_containerd_comes_up_are_told(test: &Test<'_>) -> Result<()> {
    each(test, |fleet, server| {
        let plan = |n| mixed(test, &format!("pod-{n}"), handler(server));
        let pods = fleet.up(&(0..AT_A_TIME).map(plan).collect::<Vec<_>>())?;
        let before = fleet.look()?;
        let ids: Vec<_> = pods.iter().flat_map(Made::ids).collect();
        let pids = ids.iter().map(|id| Ok(of(&before, id)?.pid.to_string()));
        let pids = pids.collect::<Result<Vec<_>>>()?.join(" ");
        test.kill_containerd()?;
        // It stands still while one dies, so that what it does next comes after that.
        let script = "until containerd=$(pgrep -x containerd); do sleep 0.01; done
            trap 'kill -CONT $containerd' EXIT
            for pid in $0; do
                kill -STOP $containerd; kill -KILL $pid; sleep 0.01; kill -CONT $containerd
                sleep 0.002
            done";
        let killing = test.start(&["bash", "-euc", script, &pids])?;
        fleet.start_containerd()?;
        killing.finish(LIMIT)?.expect(0)?;
        fleet.look_until(|all| ids.iter().try_for_each(|id| is_told_lost(of(all, id)?)))?;
        are_ready(fleet, &pods.iter().collect::<Vec<_>>())
    })
}

fn is_alive(test: &Test<'_>, pid: u64) -> Result<bool> {
    // One that has ended stays until its parent has asked for its end.
    let state = format!("grep -q '^State:[[:space:]]*[^ZX]' /proc/{pid}/status 2>/dev/null");
    Ok(test.exec(&["sh", "-c", &state])?.code == 0)
}

fn wait_for_ends(test: &Test<'_>, pids: &[u64]) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    for pid in pids {
        while is_alive(test, *pid)? {
            ensure!(Instant::now() < deadline, "{pid} does not end");
        }
    }
    Ok(())
}

/// That what a guest prints now is in its log, and is read by the client.
pub fn log_goes_on(fleet: &Fleet<'_>, pod: &Made) -> Result<()> {
    let log = fleet.log(pod, "clock");
    let lines = || -> Result<u64> {
        let count = fleet.test.exec(&["wc", "-l", &log])?.expect(0)?;
        let count = count.stdout.split_whitespace().next().unwrap_or_default();
        count.parse().with_context(|| count.to_owned())
    };
    let (before, deadline) = (lines()?, Instant::now() + LIMIT);
    while lines()? < before + 10 {
        ensure!(Instant::now() < deadline, "{log} stands still at {before}");
    }
    let tail = super::crictl(fleet.test, &["logs", "--tail", "1", pod.of("clock")?])?;
    let count: u64 = tail.parse().with_context(|| tail.clone())?;
    ensure!(count + 1 >= before, "{tail} after {before} lines");
    Ok(())
}

/// A server dies and nobody is there to see it: containerd finds out when it is back.
fn pods_that_lost_server_and_containerd_are_told(test: &Test<'_>) -> Result<()> {
    each(test, |fleet, server| {
        let mut plans = Vec::new();
        for handler in handlers(test, server) {
            plans.push(mixed(test, &format!("lost-{handler}"), &handler));
        }
        let lost = plans.len();
        plans.push(mixed(test, "other", "wasmtime"));
        let pods = fleet.up(&plans)?;
        let (lost, others) = pods.split_at(lost);
        let before = fleet.look()?;
        let servers: Result<BTreeSet<_>> = lost
            .iter()
            .map(|pod| fleet.server(of(&before, pod.of("guest")?)?.pid))
            .collect();
        test.kill_containerd()?;
        for server in servers? {
            fleet.signal("KILL", server)?;
        }
        fleet.start_containerd()?;
        let now = fleet.look_until(|all| {
            for id in lost.iter().flat_map(|pod| pod.ids()) {
                is_told_lost(of(all, id)?)?;
            }
            Ok(())
        })?;
        let others: Vec<_> = others.iter().collect();
        go_on(&before, &now, &others)?;
        are_ready(fleet, &others)?;
        let next = fleet.one(&mixed(test, "next", handler(server)))?;
        fleet.all_execute(&[
            next.of("guest")?,
            next.of("sidecar")?,
            others[0].of("guest")?,
        ])
    })
}
