//! AppArmor: what is executed has the profile that it is given, and a guest is as without one.

use anyhow::{Result, ensure};

use super::cgroups::{IN_POD, POD};
use super::pods::faults::handler;
use super::pods::{Pod, crictl};
use super::{cases, docker};
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Machine,
    as_with_runc: [
        a_profile_that_is_not_loaded_is_told,
        docker_gives_what_it_executes_its_profile,
    ],
    wasm: [what_is_executed_in_pods_has_the_profile_of_cri],
}

/// Prints the profile that it has.
const OWN: [&str; 2] = ["/bin/cat", "/proc/self/attr/current"];

/// Docker's own, which lets nobody mount anything, with whatever capabilities.
fn docker_gives_what_it_executes_its_profile(test: &Test<'_>) -> Result<()> {
    const FLAGS: [&str; 4] = [
        "--cap-add",
        "SYS_ADMIN",
        "--security-opt",
        "seccomp=unconfined",
    ];
    const SCRIPT: &str = "cat /proc/self/attr/current; busybox mount -t tmpfs none /work";
    let shell = ["/bin/sh", "-c", SCRIPT];
    docker::detached(test, &FLAGS, &["/sleep.wasm", "600"])?;
    of_first(
        test,
        &test.inspect("{{.State.Pid}}")?,
        "docker-default (enforce)",
    )?;
    let executed = test.exec(&[&["docker", "exec", &test.id], &shell[..]].concat())?;
    docker::remove(test)?;
    let own = test.docker_run(&[&["--rm"], &FLAGS[..]].concat(), &shell)?;
    for output in [executed, own] {
        ensure!(
            output.stdout == "docker-default (enforce)\n"
                && output.stderr.contains("ermission denied")
                && output.code != 0,
            "{output:?}"
        );
    }
    let free = ["--rm", "--security-opt", "apparmor=unconfined"];
    let free = test.docker_run(&[&free, &FLAGS[..]].concat(), &shell)?;
    let free = free.expect(0)?;
    ensure!(free.stdout == "unconfined\n", "{free:?}");
    Ok(())
}

/// That a container's first process has a profile, or none where it is a guest.
fn of_first(test: &Test<'_>, pid: &str, profile: &str) -> Result<()> {
    let wanted = if test.mode.is_wasm() {
        "unconfined"
    } else {
        profile
    };
    let seen = test.exec(&["cat", &format!("/proc/{pid}/attr/current")])?;
    ensure!(seen.stdout.trim_end() == wanted, "{seen:?}, not {wanted}");
    Ok(())
}

fn a_profile_that_is_not_loaded_is_told(test: &Test<'_>) -> Result<()> {
    let flags = ["--apparmor-profile", "nobody-has-loaded-it"];
    let refused = test.run(&flags, &OWN)?;
    ensure!(
        refused.code != 0 && refused.stderr.contains("failed to apply"),
        "{refused:?}"
    );
    match test.mode.is_wasm() {
        true => test.run(&flags, &["/hello.wasm"])?.expect(0).map(drop),
        false => test.next_container_runs(),
    }
}

fn what_is_executed_in_pods_has_the_profile_of_cri(test: &Test<'_>) -> Result<()> {
    Pod::with_config(test, handler(test.mode.server()), POD, |pod| {
        for (name, image) in [
            ("guest", test.mode.image()),
            ("sidecar", Mode::Runc.image()),
        ] {
            let id = pod.start_with(name, image, &["/sleep.wasm", "600"], IN_POD)?;
            let executed = crictl(test, &[&["exec", "--sync", &id], &OWN[..]].concat())?;
            ensure!(
                executed == "cri-containerd.apparmor.d (enforce)",
                "{name}: {executed}"
            );
        }
        Ok(())
    })
}
