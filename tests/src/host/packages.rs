//! The programs a host needs: Debian packages, and Go programs built from the modules in
//! `tests/tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::lock;
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
    // Somebody else may be at it.
    let patient = "DPkg::Lock::Timeout=300";
    let flags = ["install", "-qq", "--yes", "--no-install-recommends", "-o"];
    apt_get(&[&flags[..], &[patient], packages].concat())
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

/// Programs that a Go module of the tests pins.
#[derive(Debug)]
pub struct GoTools {
    /// The name of their folder.
    name: &'static str,
    /// The folder, in the checkout, of the module that pins them.
    pinned_in: &'static str,
    /// The required module whose version is theirs.
    module: &'static str,
    /// The variable that holds the version they tell.
    version: &'static str,
    packages: &'static [&'static str],
    /// Those whose tests are the program, which is then called `NAME.test`.
    tests: &'static [&'static str],
    /// How long building them takes.
    time: &'static str,
}

/// containerd with its client and its runc shim.
pub const CONTAINERD: GoTools = GoTools {
    name: "containerd",
    pinned_in: "tests/tools",
    module: "github.com/containerd/containerd/v2",
    version: "github.com/containerd/containerd/v2/version.Version",
    packages: &[
        "github.com/containerd/containerd/v2/cmd/containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/ctr",
    ],
    tests: &[],
    time: "about a minute",
};

/// The client of containerd's part for Kubernetes.
pub const CRICTL: GoTools = GoTools {
    name: "crictl",
    pinned_in: "tests/tools",
    module: "sigs.k8s.io/cri-tools",
    version: "sigs.k8s.io/cri-tools/pkg/version.Version",
    packages: &["sigs.k8s.io/cri-tools/cmd/crictl"],
    tests: &[],
    time: "about a minute",
};

/// The validation suite for that part, and what runs its specs in parallel.
pub const CRITEST: GoTools = GoTools {
    name: "critest",
    pinned_in: "tests/tools",
    module: "sigs.k8s.io/cri-tools",
    version: "sigs.k8s.io/cri-tools/pkg/version.Version",
    packages: &["github.com/onsi/ginkgo/v2/ginkgo"],
    tests: &["sigs.k8s.io/cri-tools/cmd/critest"],
    time: "about two minutes",
};

/// Kubernetes: its control plane with etcd, its node agent, its client.
pub const KUBERNETES: GoTools = GoTools {
    name: "kubernetes",
    pinned_in: "tests/tools/kubernetes",
    module: "k8s.io/kubernetes",
    version: "k8s.io/component-base/version.gitVersion",
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kubelet",
        "trireme/tests/tools/kubernetes/etcd",
    ],
    tests: &[],
    time: "about five minutes",
};

impl GoTools {
    /// Where the programs of the pinned version are.
    pub fn folder(&self) -> Result<PathBuf> {
        let name = format!("{}-{}", self.name, self.pinned(&self.go_mod())?);
        Ok(paths::cache()?.join("gotools").join(name))
    }

    /// Where the sources of the pinned version are; gets them unless they are there.
    pub fn sources(&self) -> Result<PathBuf> {
        let go = |words: &[&str]| -> Result<String> {
            let output = Command::new("go")
                .current_dir(paths::checkout().join(self.pinned_in))
                .args(words)
                .arg(self.module)
                .output()
                .context("run go; install Go 1.26.3 or later")?;
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr);
                bail!("go {} {}: {}", words.join(" "), self.module, why.trim());
            }
            Ok(String::from_utf8(output.stdout)?)
        };
        go(&["mod", "download"])?;
        let folder = go(&["list", "-m", "-f", "{{.Dir}}"])?;
        Ok(PathBuf::from(folder.trim_end()))
    }

    /// Where the version is pinned.
    pub fn go_mod(&self) -> PathBuf {
        paths::checkout().join(self.pinned_in).join("go.mod")
    }

    fn pinned(&self, file: &Path) -> Result<String> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        text.lines()
            .filter_map(|line| {
                line.trim()
                    .trim_start_matches("require ")
                    .strip_prefix(self.module)
            })
            .filter(|rest| rest.starts_with(' '))
            .find_map(|rest| rest.split_whitespace().next())
            .map(str::to_owned)
            .with_context(|| format!("{} does not require {}", file.display(), self.module))
    }

    /// Builds the programs unless they are there.
    pub fn ensure(&self) -> Result<()> {
        let folder = self.folder()?;
        if folder.exists() {
            return Ok(());
        }
        let parent = folder
            .parent()
            .context("the folder of the Go tools has no parent")?;
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        let _lock = lock::exclusive(&parent.join(format!("{}.lock", self.name)), self.module)?;
        if folder.exists() {
            return Ok(());
        }
        eprintln!(
            "host: building {} into {} ({})",
            self.module,
            folder.display(),
            self.time
        );
        // Built aside and renamed, so that an interrupted build leaves no half folder.
        let aside = parent.join(format!(".new-{}", self.name));
        if aside.exists() {
            fs::remove_dir_all(&aside).with_context(|| format!("remove {}", aside.display()))?;
        }
        self.build(&aside)?;
        fs::rename(&aside, &folder).with_context(|| format!("rename to {}", folder.display()))
    }

    fn build(&self, folder: &Path) -> Result<()> {
        let out = format!("{}/", folder.display());
        self.go(&["build"], self.packages, &out)?;
        for package in self.tests {
            let name = package.rsplit('/').next().unwrap_or(package);
            let program = format!("{out}{name}.test");
            self.go(&["test", "-c"], &[package], &program)?;
        }
        Ok(())
    }

    /// Runs a command of `go` that builds packages.
    fn go(&self, verb: &[&str], packages: &[&str], out: &str) -> Result<()> {
        let module = self.module;
        let version = format!("{}={}", self.version, self.pinned(&self.go_mod())?);
        let status = Command::new("go")
            .current_dir(paths::checkout().join(self.pinned_in))
            .args(verb)
            .args(["-trimpath", "-ldflags"])
            .arg(format!("-s -w -X {version}"))
            .args(["-o", out])
            .args(packages)
            .status()
            .with_context(|| {
                format!("run go: {module} is built from source; install Go 1.26.3 or later")
            })?;
        if !status.success() {
            bail!(
                "go {} of {module} failed ({status}); it needs Go 1.26.3 or later",
                verb[0]
            );
        }
        Ok(())
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
        let module = CONTAINERD.module;
        fs::write(
            &file,
            format!(
                "module x\n\nrequire (\n\t{module}/more v1.1.1\n\t{module} v2.9.9 // indirect\n)\n"
            ),
        )
        .unwrap();
        let version = CONTAINERD.pinned(&file);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(version.unwrap(), "v2.9.9");
    }

    #[test]
    fn the_checkout_pins_versions() {
        for tools in [&CONTAINERD, &CRICTL, &CRITEST, &KUBERNETES] {
            let version = tools.pinned(&tools.go_mod()).unwrap();
            assert!(version.starts_with('v'), "{}: {version}", tools.name);
        }
    }
}
