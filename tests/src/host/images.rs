//! The images of the tests in a host's containerd, imported again when they were built anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Instance;
use super::daemon::in_host;
use crate::paths;

/// The file in a host's state that names the build of the images it has.
const IMPORTED: &str = "images.imported";
/// The archives that pods are made of.
const FOR_PODS: [&str; 4] = ["guests", "hello-wasi-wasm", "native", "pause"];
/// What the last of them is called.
const PAUSE: &str = "trireme.test/pause:latest";

/// Builds the images if a source has changed, and imports them if the host has others or none.
pub fn refresh(instance: &Instance) -> Result<()> {
    let build = build()?;
    let note = instance.state()?.join(IMPORTED);
    if fs::read_to_string(&note).is_ok_and(|text| Path::new(&text) == build) {
        return Ok(());
    }
    let wanted = |archive: &Path| {
        let name = archive.file_stem().unwrap_or_default();
        instance.kind.images.is_empty() || instance.kind.images.iter().any(|image| name == *image)
    };
    for archive in archives(&build.join("images"))? {
        if !wanted(&archive) {
            continue;
        }
        import(instance, "default", &archive)?;
        if instance.kind.docker {
            run(
                instance,
                &archive,
                &["docker", "load", "--quiet", "--input"],
            )?;
        }
    }
    if instance.kind.cri {
        for name in FOR_PODS {
            import(
                instance,
                "k8s.io",
                &build.join(format!("images/{name}.tar")),
            )?;
        }
        name_the_pause_image(instance)?;
    }
    fs::write(&note, build.as_os_str().as_encoded_bytes())
        .with_context(|| format!("write {}", note.display()))
}

fn build() -> Result<PathBuf> {
    let script = paths::checkout().join("tests/guests/build");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): the host has no images to run",
            script.display(),
            output.status
        );
    }
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim(),
    ))
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

fn import(instance: &Instance, namespace: &str, archive: &Path) -> Result<()> {
    let platform = match archive.file_stem().and_then(|stem| stem.to_str()) {
        Some(stem) if stem.ends_with("wasi-wasm") => "wasi/wasm",
        Some(stem) if stem.ends_with("wasi-wasm32") => "wasi/wasm32",
        _ => "linux/amd64",
    };
    let ctr = ["ctr", "--namespace", namespace];
    let import = ["images", "import", "--platform", platform];
    let words = [&ctr[..], &import, instance.kind.import].concat();
    run(instance, archive, &words)
}

/// Gives the image of pods the name that containerd has for it, which is another in each version.
fn name_the_pause_image(instance: &Instance) -> Result<()> {
    let script = r#"name=$(containerd config dump | sed -nE "s/^ *sandbox(_image)? = ['\"](.+)['\"]/\2/p")
        ctr --namespace k8s.io images tag --force "$1" "$name""#;
    let words = ["bash", "-euc", script, "bash"];
    run(instance, Path::new(PAUSE), &words)
}

/// Runs a command on an image in the host.
fn run(instance: &Instance, image: &Path, words: &[&str]) -> Result<()> {
    let image_word = image.to_str().context("an image's path is not UTF-8")?;
    let output = in_host(instance, &[words, &[image_word]].concat())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` of {} in {instance} failed: {}",
            words.join(" "),
            image.display(),
            text.trim()
        );
    }
    Ok(())
}
