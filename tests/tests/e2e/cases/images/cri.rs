//! Images that the part of containerd for Kubernetes pulls from a registry, and what it makes of
//! them. A pod's sandbox is still a program of Linux, so that a pulled image is run by `ctr`; that
//! containers of it can be made is tried in a pod of runc.

use anyhow::{Context, Result, ensure};
use trireme_tests::registry::Registry;

use super::super::cases;
use super::says_hello;
use crate::test::Test;

cases! {
    needs: Cri,
    as_with_runc: [],
    wasm: [
        images_of_every_platform_are_pulled_and_run,
        artifacts_are_pulled_and_run,
        containers_of_pulled_artifacts_are_made_in_pods,
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

fn crictl(test: &Test<'_>, words: &[&str]) -> Result<String> {
    let output = test.exec(&[&["crictl"], words].concat())?.expect(0)?;
    Ok(output.stdout.trim().to_owned())
}

/// Pulls an image, does something with it, and removes it.
fn pulled(test: &Test<'_>, image: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    crictl(test, &["pull", image])?;
    let result = work();
    crictl(test, &["rmi", image])?;
    result
}

fn run(test: &Test<'_>, image: &str, command: &[&str]) -> Result<()> {
    let words = ["ctr", "-n", "k8s.io", "run", "--rm", "--runtime"];
    let words = [&words[..], &[test.mode.runtime(), image, &test.id], command].concat();
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
        pulled(test, &image, || {
            run(test, &image, &["/"])?;
            run(test, &image, &[])
        })?;
    }
    Ok(())
}

/// All that the shim is not asked for: the image's configuration, the snapshot, the specification.
fn containers_of_pulled_artifacts_are_made_in_pods(test: &Test<'_>) -> Result<()> {
    let artifacts = ["built", "type-wasm", "wasm-config"];
    let mut archives = artifacts.map(|tag| format!("artifacts/{tag}.tar")).to_vec();
    archives.push("images/hello-component-wasi-wasm.tar".into());
    let archives: Vec<_> = archives.iter().map(String::as_str).collect();
    let _registry = serve(test, &archives)?;
    let pod = Pod::run(test)?;
    let made = |image: &str, command: &str| {
        let image = format!("{HOST}/{image}");
        pulled(test, &image, || pod.make(&image, command))
    };
    let result = made("hello-component:wasi-wasm", "[]")
        .and_then(|()| made("artifact:built", "[]"))
        .and_then(|()| made("artifact:type-wasm", r#"["/"]"#))
        .and_then(|()| made("artifact:wasm-config", r#"["/"]"#))
        .and_then(|()| match made("artifact:type-wasm", "[]") {
            Err(error) if format!("{error:#}").contains("no command specified") => Ok(()),
            other => other.context("CRI makes a container without a command"),
        });
    pod.remove()?;
    result
}

/// A pod of runc, to make containers in.
struct Pod<'a, 'b> {
    test: &'a Test<'b>,
    folder: String,
    id: String,
}

impl<'a, 'b> Pod<'a, 'b> {
    fn run(test: &'a Test<'b>) -> Result<Self> {
        let name = &test.id;
        let folder = format!("/run/pod-of-{name}");
        let make = format!(
            r#"mkdir -p {folder}
echo '{{ "metadata": {{ "name": "{name}", "namespace": "default", "uid": "{name}", "attempt": 1 }},
    "log_directory": "{folder}", "linux": {{}} }}' > {folder}/pod.json"#
        );
        test.exec(&["sh", "-ec", &make])?.expect(0)?;
        let config = format!("{folder}/pod.json");
        let id = crictl(test, &["runp", "--runtime", "runc", &config])?;
        Ok(Self { test, folder, id })
    }

    /// Makes a container of an image, and removes it.
    fn make(&self, image: &str, command: &str) -> Result<()> {
        let folder = &self.folder;
        let make = format!(
            r#"echo '{{ "metadata": {{ "name": "guest" }}, "image": {{ "image": "{image}" }},
    "command": {command}, "log_path": "log", "linux": {{}} }}' > {folder}/container.json"#
        );
        self.test.exec(&["sh", "-ec", &make])?.expect(0)?;
        let file = |name: &str| format!("{folder}/{name}.json");
        let words = ["create", &self.id, &file("container"), &file("pod")];
        let id = crictl(self.test, &words)?;
        ensure!(!id.is_empty(), "a container without an id");
        crictl(self.test, &["rm", &id])?;
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        crictl(self.test, &["rmp", "--force", &self.id])?;
        self.test.exec(&["rm", "-r", &self.folder])?.expect(0)?;
        Ok(())
    }
}
