//! The same images in Docker, loaded and pulled. Docker 26 gives containerd no image's name
//! (`daemon/start.go` has it since 27), so that Trireme cannot find their layers.

use anyhow::{Result, ensure};
use trireme_tests::registry::Registry;

use super::super::cases;
use super::{archive, name, says_hello};
use crate::test::Test;

cases! {
    needs: Docker,
    as_with_runc: [],
    wasm: [
        docker_loads_and_runs_artifacts,
        docker_pulls_and_runs_artifacts,
    ],
}

fn is_old(test: &Test<'_>) -> Result<bool> {
    let version = test.docker(&["version", "--format", "{{.Server.Version}}"])?;
    Ok(version.starts_with("26."))
}

/// Runs an image, or is refused as Docker 26 is; removes it.
fn run(test: &Test<'_>, image: &str, commands: &[&[&str]]) -> Result<()> {
    let old = is_old(test)?;
    let result = commands.iter().try_for_each(|command| {
        let words = [
            "docker",
            "run",
            "--rm",
            "--name",
            &test.id,
            "--platform",
            "wasi/wasm",
        ];
        let runtime = ["--runtime", test.mode.runtime(), image];
        let output = test.exec(&[&words[..], &runtime, command].concat())?;
        if !old {
            return says_hello(output);
        }
        let output = output.expect(127)?;
        // The entry point of some of these images is a path, and of others the bare name given.
        let why = match output.stderr.contains("exec: \"/") {
            true => "no such file or directory",
            false => "executable file not found in $PATH",
        };
        ensure!(output.stderr.contains(why), "{output:?}");
        Ok(())
    });
    test.docker(&["rmi", image])?;
    result
}

fn docker_loads_and_runs_artifacts(test: &Test<'_>) -> Result<()> {
    test.docker(&["load", "--input", &archive(test, "built")?])?;
    run(test, &name("built"), &[&[]])?;
    test.docker(&["load", "--input", &archive(test, "type-wasm")?])?;
    run(test, &name("type-wasm"), &[&["/hello.wasm"]])
}

/// A registry on the loopback interface is one that Docker takes without TLS.
fn docker_pulls_and_runs_artifacts(test: &Test<'_>) -> Result<()> {
    let archives = [
        archive(test, "built-component")?,
        archive(test, "type-content")?,
    ];
    let registry = Registry::serve(&test.host.instance, &archives)?;
    for tag in ["built-component", "type-content"] {
        let image = format!("{}/artifact:{tag}", registry.address);
        test.docker(&["pull", "--platform", "wasi/wasm", &image])?;
        run(test, &image, &[&["hello-component.wasm"]])?;
    }
    Ok(())
}
