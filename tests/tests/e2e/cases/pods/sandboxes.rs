//! Pods that the shim makes itself, without a pause container.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::super::{cases, wait_until};
use super::faults::{handler, is_told_lost, of, servers};
use super::fleet::look;
use super::{CRICTL, Pod, both_sorts_share_a_pod, crictl, namespace_of, pid_of};
use crate::command::LIMIT;
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Sandboxes,
    as_with_runc: [],
    wasm: [],
    on_each_host: [
        a_killed_server_takes_pods_of_the_shim_along,
        a_pod_of_the_shim_gives_its_containers_names_and_files,
        a_pod_of_the_shim_is_no_process,
        a_pod_of_the_shim_ends_with_the_first_process_of_its_namespace,
        guests_and_linux_programs_share_a_pod_of_the_shim,
        a_pod_of_the_shim_cannot_set_parameters_of_the_node,
        a_shared_pid_namespace_leads_nowhere,
        pods_of_the_shim_outlive_containerd,
    ],
}

/// Has `act` with each handler of a case whose pods the shim makes.
fn each(test: &Test<'_>, act: impl Fn(&str) -> Result<()>) -> Result<()> {
    for server in servers(test) {
        let handler = format!("{}-sandbox", handler(server));
        act(&handler).with_context(|| handler.clone())?;
    }
    Ok(())
}

/// Has `act` with a pod of each of them, with each of these configurations.
fn each_pod(test: &Test<'_>, configs: &[&str], act: impl Fn(&Pod<'_>) -> Result<()>) -> Result<()> {
    each(test, |handler| {
        let pod = |config| Pod::with_config(test, handler, config, &act);
        configs.iter().copied().try_for_each(pod)
    })
}

fn guests_and_linux_programs_share_a_pod_of_the_shim(test: &Test<'_>) -> Result<()> {
    each(test, |handler| both_sorts_share_a_pod(test, handler))
}

fn a_pod_of_the_shim_gives_its_containers_names_and_files(test: &Test<'_>) -> Result<()> {
    let (guests, linux) = (test.mode.image(), Mode::Runc.image());
    let config = r#""hostname": "web-0",
        "dns_config": { "servers": ["10.9.9.9"], "searches": ["x.local"], "options": ["ndots:5"] },
        "linux": { "sysctls": { "net.ipv4.ip_unprivileged_port_start": "7" } }"#;
    const RESOLVER: &str = "search x.local\nnameserver 10.9.9.9\noptions ndots:5";
    each_pod(test, &[config], |pod| {
        let shows = |name: &str, image: &str, command: &[&str], expected: &str| {
            let id = pod.run(name, image, command, 0)?;
            let logs = crictl(test, &["logs", &id])?;
            ensure!(logs == expected, "{name}: {logs}");
            Ok(())
        };
        let read = ["/files.wasm", "read:/etc/resolv.conf", "read:/etc/hostname"];
        // It tells the first line of a file.
        let read_by_guest =
            "read /etc/resolv.conf: ok search x.local\nread /etc/hostname: ok web-0";
        shows("guest", guests, &read, read_by_guest)?;
        let script = "cat /etc/resolv.conf /etc/hostname; /bin/busybox hostname; \
                      cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
                      echo left here > /dev/shm/note";
        let all = format!("{RESOLVER}\nweb-0\nweb-0\n7");
        shows("linux", linux, &["/bin/sh", "-c", script], &all)?;
        shows("shared", linux, &["/bin/cat", "/dev/shm/note"], "left here")?;
        let size = "/bin/busybox df -k /dev/shm | while read a b c; do echo $b; done";
        shows("size", linux, &["/bin/sh", "-c", size], "1K-blocks\n65536")
    })
}

fn a_pod_of_the_shim_is_no_process(test: &Test<'_>) -> Result<()> {
    each_pod(test, &[APART], |pod| {
        let guest = pod.start("guest", test.mode.image(), &["/sleep.wasm", "100"])?;
        let server = server_of(test, &pid_of(test, &guest)?)?;
        let script =
            "while read key value; do [ $key != Tgid: ] || echo $value; done < /proc/$0/status";
        let group = test
            .exec(&["bash", "-euc", script, &pod.pid()?])?
            .expect(0)?;
        ensure!(group.stdout.trim() == server, "{group:?}, not {server}");
        Ok(())
    })
}

/// A configuration in which each container has a pid namespace of its own, as Kubernetes asks for
/// by default.
const APART: &str = r#""linux": { "security_context": { "namespace_options": { "pid": 1 } } }"#;

/// One in which they have the pod's.
const TOGETHER: &str = r#""linux": {}"#;

/// The process that has made this one.
pub fn server_of(test: &Test<'_>, pid: &str) -> Result<String> {
    let script =
        "while read key value; do [ $key != PPid: ] || echo $value; done < /proc/$0/status";
    let parent = test.exec(&["bash", "-euc", script, pid])?.expect(0)?;
    Ok(parent.stdout.trim().to_owned())
}

fn a_pod_of_the_shim_ends_with_the_first_process_of_its_namespace(test: &Test<'_>) -> Result<()> {
    each_pod(test, &[TOGETHER], |pod| {
        let [guest, sidecar] = pod.start_both()?;
        let first = pod.pid()?;
        let namespace = |pid: &str| namespace_of(test, pid, "pid");
        let own = namespace(&first)?;
        ensure!(own != namespace("self")?, "the pod is in the node's: {own}");
        for container in [&guest, &sidecar] {
            let of_container = namespace(&pid_of(test, container)?)?;
            ensure!(of_container == own, "{of_container}, not {own}");
        }
        pod.reaps_orphans()?;
        test.exec(&["kill", "-KILL", &first])?.expect(0)?;
        pod.ends(&guest, 137)?;
        pod.ends(&sidecar, 137)?;
        is_in_state(pod, "SANDBOX_NOTREADY")
    })
}

/// From its first process, for a container that may trace what it shares the namespace with.
fn a_shared_pid_namespace_leads_nowhere(test: &Test<'_>) -> Result<()> {
    each_pod(test, &[TOGETHER], |pod| {
        let tracing = r#"{ "security_context": { "capabilities": { "add_capabilities":
            ["SYS_PTRACE", "DAC_OVERRIDE", "DAC_READ_SEARCH"] } } }"#;
        let script = "cd /proc/1/root && /bin/busybox ls -A .; \
                      while read key value; do case $key in \
                      Uid:|Gid:|Cap*|NoNewPrivs:) echo $key $value;; esac; done < /proc/1/status; \
                      exec 9< /proc/1/exe; for file in /proc/self/fd/9 /proc/1/fd/*; do \
                      case $(/bin/busybox readlink $file) in /dev/null) continue;; esac; \
                      /bin/busybox true >> $file && echo $file; done; true";
        let words = ["/bin/sh", "-c", script];
        let id = pod.start_with("tracer", Mode::Runc.image(), &words, tracing)?;
        pod.ends(&id, 0)?;
        let seen = crictl(test, &["logs", &id])?;
        let nobody = "65534 65534 65534 65534";
        let none = "0000000000000000";
        let expected = format!(
            "Uid: {nobody}\nGid: {nobody}\nCapInh: {none}\nCapPrm: {none}\nCapEff: {none}\n\
             CapBnd: {none}\nCapAmb: {none}\nNoNewPrivs: 1"
        );
        ensure!(seen == expected, "{seen}");
        Ok(())
    })
}

/// Waits for a state of a pod. Just after a server has died its connection is closed, and CRI does
/// not know yet.
fn is_in_state(pod: &Pod<'_>, state: &str) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let template = ["--output", "go-template", "--template", "{{.status.state}}"];
        let seen = crictl(
            pod.test,
            &[&["inspectp"], &template[..], &[&pod.id]].concat(),
        );
        match seen {
            Ok(seen) if seen == state => return Ok(()),
            seen if Instant::now() > deadline => bail!("not {state}: {seen:?}"),
            _ => {}
        }
    }
}

fn a_killed_server_takes_pods_of_the_shim_along(test: &Test<'_>) -> Result<()> {
    each_pod(test, &[APART, TOGETHER], |pod| {
        let [guest, sidecar] = pod.start_both()?;
        let server = server_of(test, &pid_of(test, &guest)?)?;
        test.exec(&["kill", "-KILL", &server])?.expect(0)?;
        is_in_state(pod, "SANDBOX_NOTREADY")?;
        // CRI gives the code of a task whose server it has lost, or what `delete` says.
        wait_until(|| {
            let all = look(test)?;
            let mut containers = [&guest, &sidecar].into_iter();
            containers.try_for_each(|id| is_told_lost(of(&all, id)?))
        })
    })?;
    each_pod(test, &[TOGETHER], |pod| {
        let exit = ["/exit.wasm", "7"];
        pod.run("next", test.mode.image(), &exit, 7).map(drop)
    })
}

fn pods_of_the_shim_outlive_containerd(test: &Test<'_>) -> Result<()> {
    each_pod(test, &[APART, TOGETHER], |pod| {
        let [guest, sidecar] = pod.start_both()?;
        let before = pod.pid()?;
        test.kill_containerd()?;
        test.start_containerd()?;
        is_in_state(pod, "SANDBOX_READY")?;
        ensure!(pod.pid()? == before, "the pod was {before}");
        for container in [&guest, &sidecar] {
            let shown = crictl(test, &["exec", "--sync", container, "/hello.wasm"])?;
            ensure!(shown == "hello from the guest", "{shown}");
        }
        pod.run("next", test.mode.image(), &["/exit.wasm", "7"], 7)?;
        crictl(test, &["stop", "--timeout", "5", &guest])?;
        pod.ends(&guest, 143)
    })
}

fn a_pod_of_the_shim_cannot_set_parameters_of_the_node(test: &Test<'_>) -> Result<()> {
    each(test, |handler| {
        let (id, folder) = (&test.id, format!("/run/refused-pod-of-{}", test.id));
        let make = format!(
            r#"mkdir -p {folder}; echo '{{ "metadata": {{ "name": "{id}", "namespace": "default",
    "uid": "{id}", "attempt": 1 }}, "log_directory": "{folder}",
    "linux": {{ "sysctls": {{ "kernel.panic": "10" }} }} }}' > {folder}/pod.json"#
        );
        test.exec(&["bash", "-euc", &make])?.expect(0)?;
        let config = format!("{folder}/pod.json");
        let runp = [&CRICTL[..], &["runp", "--runtime", handler, &config]].concat();
        let refused = test.exec(&runp)?;
        let expected = "set kernel parameter kernel.panic";
        ensure!(
            refused.code != 0 && refused.stderr.contains(expected),
            "{refused:?}"
        );
        test.exec(&["rm", "-r", &folder])?.expect(0)?;
        let left = crictl(test, &["pods", "--quiet"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}
