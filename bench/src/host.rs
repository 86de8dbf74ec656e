//! The test host from inside: what peers need of it is put there for the run, and whether the rest
//! is there is looked at.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::cache;
use crate::config;
use crate::machine;
use crate::peer::Peer;
use crate::run::checkout;
use crate::settings;

/// Where the host has Trireme's programs.
const PROGRAMS: &str = "/opt/trireme/bin";
/// Trireme's shim, which handlers are links to.
const SHIM: &str = "containerd-shim-trireme-v1";
/// Where WasmEdge's plugin is put: only root may write there and above.
const PLUGINS: &str = "/opt/trireme/engines";
const WASMEDGE: &str = "libtrireme_wasmedge.so";

/// Installs what a host of Debian 13 lacks for crun, from outside. Where there is no way to a mirror,
/// the peer is left out.
///
/// # Errors
///
/// When the script cannot be run.
pub fn install_wasmedge(host: &str) -> Result<()> {
    if host.split('@').next() != Some("trixie") {
        return Ok(());
    }
    let script = checkout().join("bench/setup/wasmedge");
    let status = Command::new(&script)
        .arg(host)
        .stdin(Stdio::null())
        .status();
    let status = status.with_context(|| format!("run {}", script.display()))?;
    if !status.success() {
        eprintln!("bench: WasmEdge could not be installed in {host}");
    }
    Ok(())
}

/// What was put into the host for a run; it goes when this is dropped.
pub struct Place {
    engines: String,
    crun: String,
    config: Option<Vec<u8>>,
    made: Vec<PathBuf>,
    hugetlb: Option<TempDir>,
}

impl Place {
    /// Adds the handlers, the links and the engine that peers have beside the built-in ones, and
    /// makes crun work beside cgroups of version 1.
    ///
    /// # Errors
    ///
    /// When a file cannot be written; what was changed is as it was then.
    pub fn set_up(peers: &[Peer], quick: bool) -> Result<Self> {
        let mut place = Self {
            engines: String::new(),
            crun: machine::output("crun", &["--version"]).unwrap_or_default(),
            config: config::read()?,
            made: Vec::new(),
            hugetlb: None,
        };
        if Path::new(PROGRAMS).join(SHIM).exists() {
            place.add_plugin()?;
            place.add_handlers(peers, quick)?;
        }
        // It says on stdout which there are, and there too why others are not.
        if Path::new(PROGRAMS).join(SHIM).exists() {
            place.engines = machine::output("trireme", &["engines"])
                .context("`trireme engines` failed; run it in the host to see why")?;
        }
        if !place.crun.is_empty() && peers.iter().any(|peer| peer.runc_binary.is_some()) {
            place.hugetlb = mount_hugetlb()?;
        }
        Ok(place)
    }

    fn add_plugin(&mut self) -> Result<()> {
        let built = cache::folder()?
            .join("dist/lib/trireme/engines")
            .join(WASMEDGE);
        let place = Path::new(PLUGINS).join(WASMEDGE);
        if !built.exists() || place.exists() {
            return Ok(());
        }
        fs::create_dir_all(PLUGINS).with_context(|| format!("create {PLUGINS}"))?;
        self.made.push(place.clone());
        fs::copy(&built, &place).with_context(|| format!("copy {}", built.display()))?;
        Ok(())
    }

    fn add_handlers(&mut self, peers: &[Peer], quick: bool) -> Result<()> {
        let own = self.config.clone().unwrap_or_default();
        let own = String::from_utf8(own).context("read Trireme's configuration")?;
        let mut text = with_handlers(&own);
        if quick {
            text = settings::with(&text, &[settings::LEAVE_SOON]);
        }
        config::write(Some(text.as_bytes()))?;
        for peer in peers.iter().filter(|peer| peer.engine.is_some()) {
            let link = Path::new(PROGRAMS).join(peer.shim());
            if fs::symlink_metadata(&link).is_err() {
                std::os::unix::fs::symlink(SHIM, &link)
                    .with_context(|| format!("link {}", link.display()))?;
                self.made.push(link);
            }
        }
        Ok(())
    }

    /// Why a peer cannot run here, where it cannot.
    pub fn lacks(&self, peer: &Peer) -> Option<String> {
        let programs = [peer.shim()].into_iter().chain(peer.runc_binary.clone());
        for program in programs {
            if !is_on_path(&program) {
                return Some(format!("{program} is not on PATH"));
            }
        }
        if !peer.annotations.is_empty() && !self.crun.contains("+WASM:wasmedge") {
            return Some("crun was built without WasmEdge".to_owned());
        }
        if !peer.annotations.is_empty() && !has_library("libwasmedge.so.0") {
            return Some("libwasmedge.so.0, which crun opens, is not installed".to_owned());
        }
        peer.engine
            .as_deref()
            .and_then(|engine| self.lacks_engine(engine))
    }

    fn lacks_engine(&self, engine: &str) -> Option<String> {
        let first = |line: &&str| line.split_whitespace().next() == Some(engine);
        match self.engines.lines().find(first) {
            Some(line) if line.contains(" is not there ") => Some(line.to_owned()),
            Some(_) => None,
            None => Some(format!("`trireme engines` lists no {engine}")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let say = |what: &str, error: &dyn std::fmt::Display| eprintln!("bench: {what}: {error}");
        if let Err(error) = config::write(self.config.as_deref()) {
            say("put the configuration back", &error);
        }
        for made in &self.made {
            if let Err(error) = fs::remove_file(made) {
                say(&format!("remove {}", made.display()), &error);
            }
        }
        if let Some(folder) = &self.hugetlb
            && let Err(error) = umount(folder.path())
        {
            say("unmount the hierarchy for crun", &error);
        }
    }
}

/// The configuration with a per-node handler for each engine that has none built in, and with the
/// engine that is a plugin.
fn with_handlers(own: &str) -> String {
    let plugin = format!("[engines.wasmedge]\nplugin = \"{PLUGINS}/{WASMEDGE}\"\n");
    let handler = |name: &str, engine: &str, server: &str| {
        format!("[handlers.{name}]\nengine = \"{engine}\"\nserver = \"{server}\"\n")
    };
    let tables = [
        plugin,
        handler("wasmedge", "wasmedge", "per-pod"),
        handler("wasmedge-node", "wasmedge", "per-node"),
        handler("wasmer-node", "wasmer", "per-node"),
    ];
    settings::with(own, &tables.each_ref().map(String::as_str))
}

/// crun does not run beside cgroups of version 1 while the hierarchy of version 2 has a controller.
/// The one that is left there, hugetlb, is taken away by mounting it as version 1, in a mount
/// namespace of this program's own.
fn mount_hugetlb() -> Result<Option<TempDir>> {
    let controllers = "/sys/fs/cgroup/unified/cgroup.controllers";
    let is_left = fs::read_to_string(controllers).is_ok_and(|text| text.contains("hugetlb"));
    if !is_left {
        return Ok(None);
    }
    let folder = tempfile::tempdir().context("make a folder for a hierarchy")?;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("make mounts private")?;
    mount(
        Some("cgroup"),
        folder.path(),
        Some("cgroup"),
        MsFlags::empty(),
        Some("hugetlb"),
    )
    .context("mount the hierarchy hugetlb, which crun needs beside cgroups of version 1")?;
    Ok(Some(folder))
}

fn has_library(name: &str) -> bool {
    machine::output("/sbin/ldconfig", &["-p"]).is_some_and(|list| list.contains(name))
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    program.starts_with('/') && Path::new(program).exists()
        || env::split_paths(&path).any(|folder| folder.join(program).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_that_the_host_has_are_left_as_they_are() {
        let own = "[handlers.wasmer-node]\nengine = \"wasmi\"\n";
        let text = with_handlers(own);
        assert_eq!(text.matches("[handlers.wasmer-node]").count(), 1);
        assert!(
            text.starts_with(own) && text.contains("[handlers.wasmedge-node]"),
            "{text}"
        );
    }

    #[test]
    fn an_engine_that_is_not_there_says_why() {
        let place = Place {
            engines: "ENGINE\nwasmer  7.3.0\nwasmedge is not there (/x.so): no library".to_owned(),
            crun: String::new(),
            config: config::read().unwrap(),
            made: Vec::new(),
            hugetlb: None,
        };
        assert!(place.lacks_engine("wasmer").is_none());
        assert!(
            place
                .lacks_engine("wasmedge")
                .unwrap()
                .contains("no library")
        );
        assert!(place.lacks_engine("wasmi").is_some());
        // It is not to be put back.
        std::mem::forget(place);
    }
}
