//! The handlers that CRI is to know beside those in `deploy/containerd`, from outside of the host.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::run::host_script;

const FILE: &str = "/etc/containerd/config.toml";

/// A handler: its name, its runtime, and whether its pods have no pause container.
pub type Handler = (&'static str, &'static str, bool);

/// containerd's configuration with more handlers; dropped, it is again what it was.
pub struct Added {
    host: String,
    before: String,
}

impl Added {
    /// Adds handlers to the configuration and restarts containerd.
    ///
    /// # Errors
    ///
    /// When the host does not come up, or its containerd does not.
    pub fn to(host: &str, handlers: &[Handler]) -> Result<Self> {
        let output = Command::new(host_script())
            .args([host, "--", "cat", FILE])
            .stderr(Stdio::inherit())
            .output()
            .context("run tests/host")?;
        ensure!(output.status.success(), "read {FILE} in {host}");
        let before = String::from_utf8(output.stdout).context("read containerd's configuration")?;
        let added = Self {
            host: host.to_owned(),
            before,
        };
        added.replace(&with(&added.before, handlers))?;
        Ok(added)
    }

    fn replace(&self, text: &str) -> Result<()> {
        let host = &self.host;
        let mut child = Command::new(host_script())
            .args([host, "--", "sh", "-c", "cat > \"$0\"", FILE])
            .stdin(Stdio::piped())
            .spawn()
            .context("run tests/host")?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(text.as_bytes())?;
        drop(stdin);
        ensure!(child.wait()?.success(), "write {FILE} in {host}");
        let status = Command::new(host_script())
            .args([host, "--restart-containerd", "TERM"])
            .status()
            .context("run tests/host")?;
        ensure!(status.success(), "restart containerd of {host}");
        Ok(())
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        if let Err(error) = self.replace(&self.before) {
            eprintln!("bench: put containerd's configuration back: {error:#}");
        }
    }
}

/// The tables of those that the configuration does not have.
fn with(config: &str, handlers: &[Handler]) -> String {
    let is_v3 = config.lines().any(|line| line.trim() == "version = 3");
    let plugin = if is_v3 {
        "io.containerd.cri.v1.runtime"
    } else {
        "io.containerd.grpc.v1.cri"
    };
    let mut text = config.to_owned();
    for (name, runtime, sandbox) in handlers {
        let head = format!("[plugins.\"{plugin}\".containerd.runtimes.{name}]");
        // Before 2.x no shim could make pods.
        if config.contains(&head) || *sandbox && !is_v3 {
            continue;
        }
        text.push_str(&format!("\n{head}\nruntime_type = \"{runtime}\"\n"));
        if *sandbox {
            text.push_str("sandboxer = \"shim\"\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_added_in_the_form_of_each_version() {
        let handlers = [
            ("null", "io.containerd.null.v1", false),
            ("s", "io.containerd.s.v1", true),
        ];
        let text = with("version = 2\n", &handlers);
        assert!(text.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.null]"));
        assert!(!text.contains("sandboxer"), "{text}");
        let text = with("version = 3\n", &handlers);
        assert!(text.contains("[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.s]"));
        assert!(text.ends_with("sandboxer = \"shim\"\n"), "{text}");
        assert_eq!(with(&text, &handlers), text);
    }
}
