//! Limits that a node cannot set.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::cases;
use super::faults::{handler, servers};
use super::fleet::{Fleet, Plan, Wanted};
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    // These hosts have a root of their own: in one that has the machine's, what is unmounted uncovers
    // nothing, but libcontainer takes the machine's hidden mount for the host's.
    needs: Docker,
    as_with_runc: [],
    wasm: [],
    on_each_host: [a_limit_whose_controller_is_missing_is_refused_by_its_name],
}

/// Does something while the host has no hierarchy of a controller of cgroup v1.
fn without(test: &Test<'_>, controller: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let folder = format!("/sys/fs/cgroup/{controller}");
    test.exec(&["umount", &folder])?.expect(0)?;
    let result = act();
    let mount = ["mount", "-t", "cgroup", "-o", controller, "cgroup", &folder];
    test.exec(&mount)?.expect(0)?;
    result
}

fn no_server_is_left(test: &Test<'_>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while test.exec(&["pgrep", "-f", "[t]rireme-shim server"])?.code == 0 {
        ensure!(Instant::now() < deadline, "a server stays");
    }
    Ok(())
}

fn a_limit_whose_controller_is_missing_is_refused_by_its_name(test: &Test<'_>) -> Result<()> {
    for server in servers(test) {
        let plan = |name: &str, wanted: Wanted| Plan {
            name: name.to_owned(),
            handler: handler(server).to_owned(),
            containers: vec![wanted],
        };
        let guest = |name| Wanted::guest(test, name, &["/sleep.wasm", "1000"]);
        let limited = |name| guest(name).limited(json!({ "cpuset_cpus": "0" }));
        Fleet::with(test, |fleet| {
            without(test, "cpuset", || {
                let refused = fleet.make(&plan("refused", limited("guest")))?;
                let refused = refused.finish(LIMIT)?;
                let reason = "linux.resources.cpu.cpus: the cpuset controller is not there";
                ensure!(
                    refused.code != 0 && refused.stderr.contains(reason),
                    "{refused:?}"
                );
                let free = fleet.one(&plan("free", guest("guest")))?;
                fleet.all_execute(&[free.of("guest")?])?;
                // A server looks once.
                fleet.remove_all()?;
                no_server_is_left(test)
            })?;
            let limited = fleet.one(&plan("limited", limited("guest")))?;
            fleet.all_execute(&[limited.of("guest")?])
        })?;
    }
    Ok(())
}
