//! Images whose layers are WebAssembly and no root file system, imported from archives.

pub mod cri;
pub mod docker;
pub mod fetch;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::cases;
use crate::command::Output;
use crate::hosts::SECOND_NAMESPACE;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        artifacts_run_without_an_entrypoint,
        artifacts_of_trireme_run_by_their_entrypoint,
        a_function_of_an_artifact_runs,
        a_module_of_an_artifact_is_named_by_its_title,
        one_image_of_an_index_of_artifacts_runs,
        artifacts_run_in_every_namespace,
        precompiled_claims_of_artifacts_are_not_believed,
        artifacts_that_lie_are_refused,
        artifacts_beyond_all_measure_are_refused,
        ctr_refuses_artifacts_with_the_config_of_wasm,
    ],
    on_each_engine: {
        as_with_runc: [],
        wasm: [artifacts_are_given_arguments],
    },
}

/// The archive of `trireme.test/artifact:TAG`.
fn archive(test: &Test<'_>, tag: &str) -> Result<String> {
    let path: PathBuf = test.host.guests()?.join(format!("artifacts/{tag}.tar"));
    path.into_os_string()
        .into_string()
        .ok()
        .context("a path of other characters")
}

fn name(tag: &str) -> String {
    format!("trireme.test/artifact:{tag}")
}

/// Whether the host's containerd takes every layer for a part of the root file system.
fn is_1_6(test: &Test<'_>) -> bool {
    test.host.instance.kind.name == "bookworm"
}

/// Before any shim is asked: `getLayers` in containerd 1.6's `image.go`. Once this fails, artifacts
/// run there, and docs/images.md has to say so.
fn is_refused_by_1_6(test: &Test<'_>, namespace: &str, tag: &str) -> Result<()> {
    let archive = archive(test, tag)?;
    let words = [
        "ctr",
        "--namespace",
        namespace,
        "images",
        "import",
        "--all-platforms",
        &archive,
    ];
    let output = test.exec(&words)?;
    test.ctr(&["--namespace", namespace, "images", "rm", &name(tag)])?;
    let output = output.expect(1)?;
    let words = "mismatched image rootfs and manifest layers";
    ensure!(output.stderr.contains(words), "{output:?}");
    Ok(())
}

fn import(test: &Test<'_>, namespace: &str, tag: &str) -> Result<()> {
    let archive = archive(test, tag)?;
    let flags = test.host.instance.kind.import;
    let words = [
        "--namespace",
        namespace,
        "images",
        "import",
        "--all-platforms",
    ];
    test.ctr(&[&words, flags, &[&archive]].concat())?;
    Ok(())
}

/// Imports an image, runs each command of it, and removes it; or is refused as containerd 1.6 is.
fn with_artifact(
    test: &Test<'_>,
    tag: &str,
    run: impl FnOnce(&dyn Fn(&[&str]) -> Result<Output>) -> Result<()>,
) -> Result<()> {
    if is_1_6(test) {
        return is_refused_by_1_6(test, "default", tag);
    }
    import(test, "default", tag)?;
    let image = name(tag);
    let result = run(&|command| test.run_of(test.mode.runtime(), &image, command));
    test.ctr(&["images", "rm", &image])?;
    result
}

fn says_hello(output: Output) -> Result<()> {
    let output = output.expect(0)?;
    ensure!(
        output.stdout == "hello from the guest\n" && output.stderr.is_empty(),
        "{output:?}"
    );
    Ok(())
}

/// That a container is refused with all of these words.
fn refused(output: Output, words: &[&str]) -> Result<()> {
    let output = output.expect(1)?;
    for word in words {
        ensure!(output.stderr.contains(word), "no `{word}`: {output:?}");
    }
    Ok(())
}

fn artifacts_run_without_an_entrypoint(test: &Test<'_>) -> Result<()> {
    for tag in ["type-wasm", "type-content", "type-component"] {
        with_artifact(test, tag, |run| {
            says_hello(run(&[])?)?;
            says_hello(run(&["/"])?)?;
            says_hello(run(&["/any-name.wasm"])?)
        })?;
    }
    Ok(())
}

fn artifacts_of_trireme_run_by_their_entrypoint(test: &Test<'_>) -> Result<()> {
    for (tag, title) in [
        ("built", "hello.wasm"),
        ("built-component", "hello-component.wasm"),
    ] {
        with_artifact(test, tag, |run| {
            says_hello(run(&[])?)?;
            says_hello(run(&["/"])?)?;
            refused(
                run(&["/other.wasm"])?,
                &["\"/other.wasm\"", title, &name(tag), "\"/\""],
            )
        })?;
    }
    Ok(())
}

fn artifacts_are_given_arguments(test: &Test<'_>) -> Result<()> {
    with_artifact(test, "args", |run| {
        let output = run(&["/", "one", "two words"])?.expect(0)?;
        ensure!(output.stdout.ends_with("one\ntwo words\n"), "{output:?}");
        let output = run(&["oar", "stern"])?.expect(0)?;
        ensure!(output.stdout.contains("oar\nstern\n"), "{output:?}");
        Ok(())
    })
}

fn a_function_of_an_artifact_runs(test: &Test<'_>) -> Result<()> {
    with_artifact(test, "tiny", |run| {
        let output = run(&["/#other"])?.expect(0)?;
        ensure!(
            output.stdout.is_empty() && output.stderr == "tiny\n",
            "{output:?}"
        );
        let output = run(&["tiny.wasm#other"])?.expect(0)?;
        ensure!(
            output.stdout.is_empty() && output.stderr == "tiny\n",
            "{output:?}"
        );
        Ok(())
    })
}

fn a_module_of_an_artifact_is_named_by_its_title(test: &Test<'_>) -> Result<()> {
    with_artifact(test, "many", |run| {
        run(&["exit.wasm", "7"])?.expect(7)?;
        run(&["/exit.wasm", "9"])?.expect(9)?;
        says_hello(run(&["../../etc/hello.wasm"])?)?;
        let titles = ["\"exit.wasm\"", "\"../../etc/hello.wasm\""];
        refused(run(&["/"])?, &titles)?;
        refused(run(&[])?, &titles)?;
        refused(run(&["/etc/hello.wasm"])?, &titles)?;
        refused(run(&["README"])?, &titles)
    })
}

fn one_image_of_an_index_of_artifacts_runs(test: &Test<'_>) -> Result<()> {
    with_artifact(test, "index", |run| says_hello(run(&[])?))
}

fn artifacts_run_in_every_namespace(test: &Test<'_>) -> Result<()> {
    if is_1_6(test) {
        return is_refused_by_1_6(test, SECOND_NAMESPACE, "built");
    }
    import(test, SECOND_NAMESPACE, "built")?;
    let image = name("built");
    let words = ["-n", SECOND_NAMESPACE, "run", "--rm", "--runtime"];
    let run = test.exec(
        &[
            &["ctr"],
            &words[..],
            &[test.mode.runtime(), &image, &test.id],
        ]
        .concat(),
    );
    test.ctr(&["-n", SECOND_NAMESPACE, "images", "rm", &image])?;
    says_hello(run?)
}

fn precompiled_claims_of_artifacts_are_not_believed(test: &Test<'_>) -> Result<()> {
    with_artifact(test, "precompiled", |run| {
        let words = ["a Linux executable", "sha256:", &name("precompiled")];
        refused(run(&["code.wasm"])?, &words)?;
        refused(run(&["code"])?, &["\"code.wasm\"", "\"hello.wasm\""])?;
        says_hello(run(&["hello.wasm"])?)
    })
}

fn artifacts_that_lie_are_refused(test: &Test<'_>) -> Result<()> {
    with_artifact(test, "wrong-size", |run| {
        refused(
            run(&[])?,
            &["bytes and not 7", "sha256:", &name("wrong-size")],
        )
    })
}

fn artifacts_beyond_all_measure_are_refused(test: &Test<'_>) -> Result<()> {
    with_artifact(test, "nested", |run| {
        refused(run(&["/"])?, &["more than 32 manifests", &name("nested")])
    })?;
    with_artifact(test, "huge", |run| {
        refused(
            run(&["/"])?,
            &["no more than 4194304 are read", &name("huge")],
        )
    })
}

/// Before any shim is asked: `WithImageConfigArgs` in containerd's `pkg/oci/spec_opts.go`. Once
/// this fails, such images run, and docs/images.md has to say so.
fn ctr_refuses_artifacts_with_the_config_of_wasm(test: &Test<'_>) -> Result<()> {
    with_artifact(test, "wasm-config", |run| {
        let words = ["unknown image config media type application/vnd.wasm.config.v0+json"];
        refused(run(&["/"])?, &words)
    })
}
