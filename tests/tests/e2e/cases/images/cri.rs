//! Images that the part of containerd for Kubernetes pulls from a registry, run by `ctr` and in pods.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use trireme_tests::engines::Engine;
use trireme_tests::registry::Registry;

use super::super::cases;
use super::super::pods::faults::handler;
use super::super::pods::{Pod, crictl};
use super::{is_1_6, says_hello};
use crate::command::{LIMIT, Running};
use crate::mode::Mode;
use crate::test::Test;

cases! {
    needs: Cri,
    as_with_runc: [],
    wasm: [],
    on_each_host: [
        images_of_every_platform_are_pulled_and_run,
        artifacts_are_pulled_and_run,
        pulled_artifacts_run_in_pods,
        indexes_of_artifacts_without_the_platform_of_the_host_are_refused,
        the_transfer_service_pulls_artifacts_and_unpacks_nothing_for_wasi,
    ],
}

/// The name by which hosts know the registry.
const HOST: &str = "registry.test";

/// Serves archives to a host by the name that its containerd has for the registry.
fn serve(test: &Test<'_>, archives: &[&str]) -> Result<Registry> {
    let folder = test.host.guests()?;
    let archives: Vec<_> = archives.iter().map(|name| folder.join(name)).collect();
    let registry = Registry::serve(&test.host.instance, &archives)?;
    let address = registry.address;
    let script = format!(
        "mkdir -p /etc/containerd/certs.d/{HOST}\n\
         cat > /etc/containerd/certs.d/{HOST}/hosts.toml <<-end\n\
         server = \"http://{address}\"\n\
         [host.\"http://{address}\"]\n\
         capabilities = [\"pull\", \"resolve\"]\n\
         end\n"
    );
    test.exec(&["sh", "-ec", &script])?.expect(0)?;
    Ok(registry)
}

/// Pulls an image, does something with it, and removes it.
fn pulled(test: &Test<'_>, image: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    crictl(test, &["pull", image])?;
    let result = work();
    crictl(test, &["rmi", image])?;
    result
}

fn run(test: &Test<'_>, image: &str, command: &[&str]) -> Result<()> {
    // Components are among them.
    let runtime = Mode::Wasm(Engine::Wasmtime, test.mode.server()).runtime();
    let words = ["ctr", "-n", "k8s.io", "run", "--rm", "--runtime"];
    let words = [&words[..], &[runtime, image, &test.id], command].concat();
    says_hello(test.exec(&words)?)
}

fn images_of_every_platform_are_pulled_and_run(test: &Test<'_>) -> Result<()> {
    let platforms = ["wasi-wasm", "wasi-wasm32", "linux-amd64"];
    let archives = platforms.map(|tag| format!("images/hello-component-{tag}.tar"));
    let _registry = serve(test, &archives.each_ref().map(String::as_str))?;
    for tag in platforms {
        let image = format!("{HOST}/hello-component:{tag}");
        pulled(test, &image, || run(test, &image, &[]))?;
    }
    Ok(())
}

fn artifacts_are_pulled_and_run(test: &Test<'_>) -> Result<()> {
    let tags = ["built", "built-component", "type-content", "index"];
    let archives = tags.map(|tag| format!("artifacts/{tag}.tar"));
    let _registry = serve(test, &archives.each_ref().map(String::as_str))?;
    for tag in tags {
        let image = format!("{HOST}/artifact:{tag}");
        if is_1_6(test) {
            is_not_pulled_by_1_6(test, &image)?;
            continue;
        }
        pulled(test, &image, || {
            run(test, &image, &["/"])?;
            run(test, &image, &[])
        })?;
    }
    Ok(())
}

/// See `is_refused_by_1_6`, for images that are pulled.
fn is_not_pulled_by_1_6(test: &Test<'_>, image: &str) -> Result<()> {
    let output = test.exec(&["crictl", "pull", image])?;
    // What was pulled before that is known stays under the name.
    test.exec(&["ctr", "-n", "k8s.io", "images", "rm", image])?;
    let output = output.expect(1)?;
    let words = "mismatched image rootfs and manifest layers";
    ensure!(output.stderr.contains(words), "{output:?}");
    Ok(())
}

fn pulled_artifacts_run_in_pods(test: &Test<'_>) -> Result<()> {
    let artifacts = [
        "built",
        "built-component",
        "type-wasm",
        "type-content",
        "type-component",
        "wasm-config",
        "many",
        "index",
    ];
    let mut archives = artifacts.map(|tag| format!("artifacts/{tag}.tar")).to_vec();
    archives.push("images/hello-component-wasi-wasm.tar".into());
    let archives: Vec<_> = archives.iter().map(String::as_str).collect();
    let _registry = serve(test, &archives)?;
    on_pods(test, |pod| {
        pull_and_run(pod, "hello-component:wasi-wasm", &[])?;
        if is_1_6(test) {
            return artifacts
                .iter()
                .try_for_each(|tag| is_not_pulled_by_1_6(test, &format!("{HOST}/artifact:{tag}")));
        }
        for artifact in [
            "artifact:built",
            "artifact:built-component",
            "artifact:index",
        ] {
            pull_and_run(pod, artifact, &[])?;
        }
        for (artifact, command) in [
            ("artifact:type-wasm", "/"),
            ("artifact:type-wasm", "/#_start"),
            ("artifact:type-content", "/"),
            ("artifact:type-component", "/"),
            ("artifact:wasm-config", "/"),
            ("artifact:many", "../../etc/hello.wasm"),
        ] {
            pull_and_run(pod, artifact, &[command])
                .with_context(|| format!("{command} of {artifact}"))?;
        }
        match pull_and_run(pod, "artifact:type-wasm", &[]) {
            Err(error) if format!("{error:#}").contains("no command specified") => Ok(()),
            other => other.context("CRI makes a container without a command"),
        }
    })
}

/// Before any shim is asked: `Manifest` in containerd's `core/images/image.go`. Once this fails, such
/// images are pulled, and docs/images.md has to say so.
fn indexes_of_artifacts_without_the_platform_of_the_host_are_refused(
    test: &Test<'_>,
) -> Result<()> {
    let _registry = serve(test, &["artifacts/index-wasi.tar"])?;
    let image = format!("{HOST}/artifact:index-wasi");
    let output = test.exec(&["crictl", "pull", &image])?;
    // What was pulled before that is known stays under the name.
    test.exec(&["ctr", "-n", "k8s.io", "images", "rm", &image])?;
    let output = output.expect(1)?;
    let words = "no match for platform in manifest";
    ensure!(output.stderr.contains(words), "{output:?}");
    Ok(())
}

/// With containerd's own default and not that of `deploy/containerd`: since 2.1 the transfer service
/// pulls. Once this fails, `use_local_image_pull` is not needed any more, and docs/images.md has to
/// say so.
fn the_transfer_service_pulls_artifacts_and_unpacks_nothing_for_wasi(
    test: &Test<'_>,
) -> Result<()> {
    let image = "hello-component:wasi-wasm";
    let archives = [
        "images/hello-component-wasi-wasm.tar",
        "artifacts/built.tar",
        "artifacts/type-wasm.tar",
    ];
    let _registry = serve(test, &archives)?;
    test.kill_containerd()?;
    let other = start_with_the_transfer_service(test);
    let result = other.and_then(|running| {
        let has_one = test.exec(&["grep", "-q", "use_local", "/etc/containerd/config.toml"])?;
        let result = on_pods(test, |pod| {
            if !is_1_6(test) {
                pull_and_run(pod, "artifact:built", &[])?;
                pull_and_run(pod, "artifact:type-wasm", &["/"])?;
            }
            match pull_and_run(pod, image, &[]) {
                Ok(()) if has_one.code != 0 => Ok(()),
                Err(error) if format!("{error:#}").contains("parent snapshot") => Ok(()),
                other => other.context("the image is unpacked"),
            }
        });
        drop(running);
        result
    });
    test.start_containerd()?;
    result
}

/// Starts containerd with what its configuration is without `use_local_image_pull`.
fn start_with_the_transfer_service(test: &Test<'_>) -> Result<Running> {
    let script = "sed 's/^use_local_image_pull/# &/' /etc/containerd/config.toml > /run/other.toml\n\
                  exec containerd --config /run/other.toml";
    let running = test.start(&["sh", "-ec", script])?;
    let deadline = Instant::now() + LIMIT;
    while test.exec(&["crictl", "info"])?.code != 0 {
        ensure!(Instant::now() < deadline, "containerd does not answer");
    }
    Ok(running)
}

/// Does something with a pod.
fn on_pods(test: &Test<'_>, work: impl FnOnce(&Pod<'_>) -> Result<()>) -> Result<()> {
    Pod::with(test, handler(test.mode.server()), work)
}

/// Pulls an image, runs a container of it in a pod, and removes both.
fn pull_and_run(pod: &Pod<'_>, image: &str, command: &[&str]) -> Result<()> {
    let name = image.replace(':', "-");
    let image = format!("{HOST}/{image}");
    pulled(pod.test, &image, || {
        let id = pod.run(&name, &image, command, 0)?;
        let logs = crictl(pod.test, &["logs", &id])?;
        ensure!(logs == "hello from the guest", "{image}: {logs}");
        crictl(pod.test, &["rm", &id]).map(drop)
    })
}
