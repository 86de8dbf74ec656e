//! Running hooks of the OCI specification outside the container: prestart and
//! createRuntime once the namespaces exist, poststart after the guest runs,
//! poststop after deletion. The two that run inside are refused when the plan of a guest is made;
//! of a Linux program, libcontainer runs all that come before its start.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use trireme_container::open_files;
use trireme_container::state::{self, Record};
use trireme_core::spec::oci;

use super::error::ServiceError;
use super::log::TaskLog;

/// The hooks of one container.
pub struct Hooks {
    id: String,
    bundle: PathBuf,
    hooks: state::Hooks,
}

impl Hooks {
    /// The hooks that a container's record holds.
    pub fn of(record: &Record) -> Self {
        Hooks {
            id: record.id.clone(),
            bundle: record.bundle.clone(),
            hooks: record.hooks.clone(),
        }
    }

    /// Whether init has to wait for hooks.
    pub fn before_start(&self) -> bool {
        !self.hooks.create_runtime.is_empty()
    }

    /// Runs the hooks that init waits for; the first that fails, fails Create.
    pub async fn create_runtime(&self, pid: u32) -> Result<(), ServiceError> {
        for hook in &self.hooks.create_runtime {
            self.run(hook, "creating", pid).await.map_err(|reason| {
                ServiceError::Setup(format!("hook {}: {reason}", hook.path().display()))
            })?;
        }
        Ok(())
    }

    /// Runs the hooks after the start; a failure is a warning, as the
    /// specification has it.
    pub async fn poststart(&self, pid: u32, log: &TaskLog) {
        self.run_all(&self.hooks.poststart, "running", pid, log)
            .await;
    }

    /// Runs the hooks after the deletion; a failure is a warning.
    pub async fn poststop(&self, log: &TaskLog) {
        self.run_all(&self.hooks.poststop, "stopped", 0, log).await;
    }

    async fn run_all(&self, hooks: &[oci::Hook], status: &str, pid: u32, log: &TaskLog) {
        for hook in hooks {
            if let Err(reason) = self.run(hook, status, pid).await {
                log.warn(&format!("hook {}: {reason}", hook.path().display()));
            }
        }
    }

    async fn run(&self, hook: &oci::Hook, status: &str, pid: u32) -> Result<(), String> {
        let state = serde_json::json!({
            "ociVersion": "1.2.1",
            "id": self.id,
            "status": status,
            "pid": pid,
            "bundle": self.bundle,
            "annotations": self.hooks.annotations,
        });
        let mut command = Command::new(hook.path());
        if let Some((name, args)) = hook.args().as_deref().and_then(<[String]>::split_first) {
            command.arg0(name).args(args);
        }
        command.env_clear();
        for variable in hook.env().iter().flatten() {
            if let Some((key, value)) = variable.split_once('=') {
                command.env(key, value);
            }
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        // SAFETY: between fork and exec the closure calls setrlimit alone.
        unsafe {
            command.pre_exec(|| {
                open_files::restore();
                Ok(())
            });
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let work = async {
            if let Some(mut stdin) = child.stdin.take() {
                // A hook need not read its input.
                let _ = stdin.write_all(state.to_string().as_bytes()).await;
            }
            child
                .wait_with_output()
                .await
                .map_err(|error| error.to_string())
        };
        let output = match hook.timeout() {
            Some(seconds) if seconds > 0 => {
                let timeout = Duration::from_secs(seconds.unsigned_abs());
                tokio::time::timeout(timeout, work)
                    .await
                    .map_err(|_| format!("took more than {timeout:?}"))??
            }
            _ => work.await?,
        };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {}", output.status, said.trim()))
    }
}
