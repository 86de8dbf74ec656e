//! The sandbox service as ttrpc calls it (containerd
//! `api/runtime/sandbox/v1/sandbox.proto`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::types::platform::Platform;
use ttrpc::r#async::TtrpcContext;

use super::{Request, Status};
use crate::server::error::ServiceError;
use crate::server::service::Service;
use crate::wire::sandbox_api as api;
use crate::wire::sandbox_async::{Sandbox as Calls, create_sandbox};
use crate::wire::{pod, stats, timestamp};

/// The methods of the service.
pub fn methods(service: &Arc<Service>) -> HashMap<String, ttrpc::asynchronous::Service> {
    create_sandbox(Arc::new(Sandboxes(service.clone())))
}

struct Sandboxes(Arc<Service>);

/// The states as CRI spells them (`runtime.v1.PodSandboxState`).
fn state(status: &Status) -> &'static str {
    match status.is_ready {
        true => "SANDBOX_READY",
        false => "SANDBOX_NOTREADY",
    }
}

/// The names of Go, which images and specifications use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[async_trait]
impl Calls for Sandboxes {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::CreateSandboxRequest,
    ) -> ttrpc::Result<api::CreateSandboxResponse> {
        let config = pod::parse(request.options.as_ref())
            .map_err(|error| ServiceError::InvalidArgument(error.to_string()))?;
        let request = Request {
            id: request.sandbox_id,
            bundle: PathBuf::from(request.bundle_path),
            network: Some(PathBuf::from(request.netns_path)).filter(|path| *path != Path::new("")),
            config,
        };
        self.0.create_sandbox(request).await?;
        Ok(api::CreateSandboxResponse::new())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::StartSandboxRequest,
    ) -> ttrpc::Result<api::StartSandboxResponse> {
        let maker = self.0.maker();
        let sandbox = maker.sandboxes.get(&request.sandbox_id)?;
        let shim = maker.shim.clone();
        let start = tokio::spawn(async move { sandbox.start(shim).await });
        let (pid, at) = start
            .await
            .map_err(|error| ServiceError::Setup(error.to_string()))??;
        Ok(api::StartSandboxResponse {
            pid,
            created_at: MessageField::some(timestamp(at)),
            ..Default::default()
        })
    }

    async fn platform(
        &self,
        _: &TtrpcContext,
        request: api::PlatformRequest,
    ) -> ttrpc::Result<api::PlatformResponse> {
        self.0.maker().sandboxes.get(&request.sandbox_id)?;
        Ok(api::PlatformResponse {
            platform: MessageField::some(Platform {
                os: std::env::consts::OS.to_owned(),
                architecture: architecture().to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    /// CRI has stopped its containers by now; others may let them run.
    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::StopSandboxRequest,
    ) -> ttrpc::Result<api::StopSandboxResponse> {
        let sandbox = self.0.maker().sandboxes.get(&request.sandbox_id)?;
        sandbox.stop().await;
        Ok(api::StopSandboxResponse::new())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::WaitSandboxRequest,
    ) -> ttrpc::Result<api::WaitSandboxResponse> {
        let sandbox = self.0.maker().sandboxes.get(&request.sandbox_id)?;
        let exit = sandbox.wait().await;
        Ok(api::WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: api::SandboxStatusRequest,
    ) -> ttrpc::Result<api::SandboxStatusResponse> {
        let sandbox = self.0.maker().sandboxes.get(&request.sandbox_id)?;
        let status = sandbox.status();
        let mut response = api::SandboxStatusResponse {
            sandbox_id: request.sandbox_id,
            pid: status.pid,
            state: state(&status).to_owned(),
            created_at: status.started.map(timestamp).into(),
            exited_at: status.exit.map(|exit| timestamp(exit.at)).into(),
            ..Default::default()
        };
        if request.verbose {
            // As CRI tells of a pause container (`podsandbox/types`, `SandboxInfo`).
            let process = if status.is_ready {
                "running"
            } else {
                "stopped"
            };
            let info = serde_json::json!({ "pid": status.pid, "processStatus": process });
            response.info.insert("info".into(), info.to_string());
        }
        Ok(response)
    }

    async fn ping_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::PingRequest,
    ) -> ttrpc::Result<api::PingResponse> {
        self.0.maker().sandboxes.get(&request.sandbox_id)?;
        Ok(api::PingResponse::new())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::ShutdownSandboxRequest,
    ) -> ttrpc::Result<api::ShutdownSandboxResponse> {
        let service = self.0.clone();
        let removal =
            tokio::spawn(async move { service.remove_sandbox(&request.sandbox_id).await });
        removal
            .await
            .map_err(|error| ServiceError::Setup(error.to_string()))??;
        Ok(api::ShutdownSandboxResponse::new())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: api::SandboxMetricsRequest,
    ) -> ttrpc::Result<api::SandboxMetricsResponse> {
        let maker = self.0.maker();
        let sandbox = maker.sandboxes.get(&request.sandbox_id)?;
        let Some(cgroup) = sandbox.cgroup(&maker.layout)? else {
            let message = format!("sandbox {} has no cgroup", request.sandbox_id);
            return Err(ServiceError::NotFound(message).into());
        };
        let accounts = cgroup.stats().map_err(ServiceError::from)?;
        let mut response = api::SandboxMetricsResponse::new();
        let metrics = response.metrics.mut_or_insert_default();
        metrics.timestamp = MessageField::some(timestamp(SystemTime::now()));
        metrics.id = request.sandbox_id;
        metrics.data = MessageField::some(stats::any(&accounts));
        Ok(response)
    }
}
