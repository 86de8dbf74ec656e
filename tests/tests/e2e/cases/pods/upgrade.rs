//! New programs or a new configuration while pods run: new pods have the new, old ones keep the old.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use trireme_tests::host::install;
use trireme_tests::paths;

use super::super::cases;
use super::CRICTL;
use super::faults::{
    ended_when_asked, go_on, handler, handlers, is_told_lost, log_goes_on, mixed, of, servers,
};
use super::fleet::{Fleet, Made, Wanted};
use crate::command::LIMIT;
use crate::mode::{CONFIG, Server};
use crate::test::Test;

cases! {
    needs: Cri,
    as_with_runc: [],
    wasm: [],
    on_each_host: [
        old_pods_live_on_with_the_old_configuration,
        old_pods_live_on_with_the_old_programs,
    ],
}

/// The programs of which an installation is made.
const PROGRAMS: [&str; 3] = [
    "containerd-shim-trireme-v1",
    "trireme-executor",
    "trireme-shim",
];

fn old_pods_live_on_with_the_old_programs(test: &Test<'_>) -> Result<()> {
    each(test, |server, handler| {
        let change = |act: &mut dyn FnMut() -> Result<()>| with_other_build(test, act);
        old_pods_live_on(test, server, handler, change, has_the_installed_program)
    })
}

/// Has `act` with each server of a case, and each handler of CRI that leads to it.
fn each(test: &Test<'_>, act: impl Fn(Server, &str) -> Result<()>) -> Result<()> {
    for server in servers(test) {
        for handler in handlers(test, server) {
            act(server, &handler).with_context(|| handler.clone())?;
        }
    }
    Ok(())
}

/// The new one lets a guest have little memory.
fn old_pods_live_on_with_the_old_configuration(test: &Test<'_>) -> Result<()> {
    each(test, |server, of_cri| {
        let (handler, server_name) = (handler(server), server.name());
        let config = format!(
            "{CONFIG}[handlers.{handler}]\nengine = \"wasmtime\"\nserver = \"{server_name}\"\n\
             limits = {{ memory = \"4MiB\" }}\n"
        );
        let change = |act: &mut dyn FnMut() -> Result<()>| test.with_config(&config, act);
        old_pods_live_on(test, server, of_cri, change, has_little_memory)
    })
}

/// Whether the server of a pod is of the build that is installed now.
fn has_the_installed_program(fleet: &Fleet<'_>, pod: &Made) -> Result<bool> {
    let server = fleet.server(of(&fleet.look()?, pod.of("guest")?)?.pid)?;
    let file = |path: &str| -> Result<String> {
        let output = fleet
            .test
            .exec(&["stat", "-Lc", "%d:%i", path])?
            .expect(0)?;
        Ok(output.stdout)
    };
    let installed = format!("{}/trireme-shim", install::FOLDER);
    Ok(file(&format!("/proc/{server}/exe"))? == file(&installed)?)
}

/// Whether guests of a pod have as little memory as the new configuration lets them.
fn has_little_memory(fleet: &Fleet<'_>, pod: &Made) -> Result<bool> {
    let grow = ["exec", "--sync", pod.of("guest")?, "/grow.wasm", "16"];
    let output = fleet.test.exec(&[&CRICTL[..], &grow].concat())?;
    let has_little = output.stderr.contains("no memory after");
    ensure!(has_little != output.stdout.contains("16 MiB"), "{output:?}");
    Ok(has_little)
}

/// Does something while another build is installed, each file of it put in place by a rename, as
/// package managers do.
fn with_other_build(test: &Test<'_>, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let other = paths::cache()?.join("dist/crash/bin");
    ensure!(
        other.join(PROGRAMS[0]).exists(),
        "{} is missing: run `make build-crash`",
        other.display()
    );
    let (other, folder) = (other.display(), install::FOLDER);
    let put = format!(
        "for program in {}; do\n\
         cp {other}/$program {folder}/$program.new\n\
         ln {folder}/$program {folder}/$program.kept\n\
         mv {folder}/$program.new {folder}/$program\n\
         done",
        PROGRAMS.join(" ")
    );
    let back = format!(
        "for program in {}; do mv {folder}/$program.kept {folder}/$program; done",
        PROGRAMS.join(" ")
    );
    test.exec(&["sh", "-ec", &put])?.expect(0)?;
    let result = act();
    test.exec(&["sh", "-ec", &back])?.expect(0)?;
    result
}

/// Has `change` do its work while pods run. What has changed shows in new pods, and in no old one.
fn old_pods_live_on(
    test: &Test<'_>,
    server: Server,
    handler: &str,
    change: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>,
    is_new: impl Fn(&Fleet<'_>, &Made) -> Result<bool>,
) -> Result<()> {
    let act = |fleet: &Fleet<'_>| {
        let plan = |name| mixed(test, name, handler);
        let old = fleet.up(&[plan("old"), plan("lost")])?;
        let before = fleet.look()?;
        let servers: Result<Vec<_>> = old
            .iter()
            .map(|pod| fleet.server(of(&before, pod.of("guest")?)?.pid))
            .collect();
        let servers = servers?;
        let mut rest = || {
            let new = fleet.one(&plan("new"))?;
            let now = fleet.look()?;
            go_on(&before, &now, &[&old[0], &old[1]])?;
            let of_new = fleet.server(of(&now, new.of("guest")?)?.pid)?;
            ensure!(!servers.contains(&of_new), "{of_new} serves old and new");
            ensure!(is_new(fleet, &new)?, "a new pod has what was before");
            for pod in &old {
                ensure!(!is_new(fleet, pod)?, "{} has what came later", pod.name);
            }
            old_pod_works(fleet, &old[0])?;
            fleet.all_execute(&[new.of("guest")?, new.of("sidecar")?])?;
            match server {
                Server::PerPod => {
                    fleet.remove(&[&old[0]])?;
                    ends(test, servers[0])?;
                    lost_server_is_told(fleet, &old[1], servers[1])
                }
                Server::PerNode => {
                    lost_server_is_told(fleet, &old[1], servers[1])?;
                    fleet.remove(&[&old[0], &old[1]])
                }
            }?;
            fleet.stop(&[&new])?;
            ended_when_asked(&fleet.look()?, &new)
        };
        change(&mut rest)
    };
    Fleet::with(test, act)
}

/// Containers of it do all that they did, one more can be made, and containerd finds it again.
fn old_pod_works(fleet: &Fleet<'_>, pod: &Made) -> Result<()> {
    let ids = [pod.of("guest")?, pod.of("sidecar")?];
    fleet.all_execute(&ids)?;
    let before = fleet.look()?;
    fleet.test.kill_containerd()?;
    fleet.start_containerd()?;
    go_on(&before, &fleet.look()?, &[pod])?;
    fleet.all_execute(&ids)?;
    log_goes_on(fleet, pod)?;
    let seven = fleet.add(
        pod,
        &Wanted::guest(fleet.test, "seven", &["/exit.wasm", "7"]),
    )?;
    fleet.look_until(|all| {
        let seen = of(all, &seven)?;
        ensure!(seen.has_ended() && seen.code == 7, "{seen:?}");
        Ok(())
    })?;
    fleet.stop(&[pod])?;
    ended_when_asked(&fleet.look()?, pod)
}

/// The new programs clean up after a server of the old ones.
fn lost_server_is_told(fleet: &Fleet<'_>, pod: &Made, server: u64) -> Result<()> {
    fleet.signal("KILL", server)?;
    fleet.look_until(|all| {
        let mut ids = pod.ids();
        ids.try_for_each(|id| is_told_lost(of(all, id)?))
    })?;
    Ok(())
}

/// Waits for the end of a server.
fn ends(test: &Test<'_>, server: u64) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while test.exec(&["test", "-d", &format!("/proc/{server}")])?.code == 0 {
        ensure!(Instant::now() < deadline, "server {server} stays");
    }
    Ok(())
}
