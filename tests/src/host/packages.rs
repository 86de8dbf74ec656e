//! The programs a host needs: Debian packages, and Go programs built from `tests/tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// Installs the Debian packages that are missing, and says so.
pub fn ensure_debian(packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("host: installing Debian packages: {}", missing.join(" "));
    if apt_install(&missing).is_ok() {
        return Ok(());
    }
    // The package lists may be missing or old.
    apt_get(&["update", "-qq"])?;
    apt_install(&missing)
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let flags = ["install", "-qq", "--yes", "--no-install-recommends"];
    apt_get(&[&flags, packages].concat())
}

fn apt_get(args: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("run apt-get: the test hosts need Debian 12 or later")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("apt-get {} failed: {}", args.join(" "), text.trim());
    }
    Ok(())
}

const GO_MODULE: &str = "github.com/containerd/containerd/v2";
const GO_COMMANDS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];

fn go_folder() -> PathBuf {
    paths::checkout().join("tests/tools")
}

/// Where the Go programs of the pinned version are.
pub fn go_tools_folder() -> Result<PathBuf> {
    let version = go_version(&go_folder().join("go.mod"))?;
    Ok(paths::cache()?
        .join("gotools")
        .join(format!("containerd-{version}")))
}

fn go_version(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    text.lines()
        .filter_map(|line| {
            line.trim()
                .trim_start_matches("require ")
                .strip_prefix(GO_MODULE)
        })
        .find_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .with_context(|| format!("{} does not require {GO_MODULE}", file.display()))
}

/// Builds the Go programs unless they are there.
pub fn ensure_go_tools() -> Result<()> {
    let folder = go_tools_folder()?;
    if folder.exists() {
        return Ok(());
    }
    eprintln!(
        "host: building {GO_MODULE} into {} (about a minute)",
        folder.display()
    );
    let parent = folder
        .parent()
        .context("the folder of the Go tools has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    // Built aside and renamed, so that an interrupted build leaves no half folder.
    let aside = parent.join(format!(".new-{}", std::process::id()));
    let version = go_version(&go_folder().join("go.mod"))?;
    let status = Command::new("go")
        .current_dir(go_folder())
        .args(["build", "-trimpath", "-ldflags"])
        .arg(format!("-s -w -X {GO_MODULE}/version.Version={version}"))
        .arg("-o")
        .arg(format!("{}/", aside.display()))
        .args(GO_COMMANDS.map(|name| format!("{GO_MODULE}/cmd/{name}")))
        .status()
        .context(
            "run go: the host containerd-2.3 is built from source; install Go 1.26.3 or later",
        )?;
    if !status.success() {
        bail!("go build of {GO_MODULE} failed ({status}); it needs Go 1.26.3 or later");
    }
    match fs::rename(&aside, &folder) {
        // Another call was faster.
        Err(_) if folder.exists() => fs::remove_dir_all(&aside).context("remove the second build"),
        result => result.with_context(|| format!("rename to {}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_go_mod_requires() {
        let folder = std::env::temp_dir().join(format!("trireme-go-mod-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("go.mod");
        fs::write(
            &file,
            format!("module x\n\nrequire (\n\t{GO_MODULE} v2.9.9 // indirect\n)\n"),
        )
        .unwrap();
        let version = go_version(&file);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(version.unwrap(), "v2.9.9");
    }

    #[test]
    fn the_checkout_pins_a_version() {
        assert!(
            go_version(&go_folder().join("go.mod"))
                .unwrap()
                .starts_with("v2.")
        );
    }
}
