//! The task service as ttrpc calls it: from messages to what is done, and back.
//!
//! `containerd.task.v2.Task` and `containerd.task.v3.Task` differ in the
//! package's name alone and are one implementation here.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
use containerd_shim_protos::shim_async::{Task, create_task};
use trireme_core::lifecycle::{Exit, Refusal, State};
use trireme_core::plan::TerminalSize;
use trireme_core::spec::oci::LinuxResources;
use ttrpc::r#async::TtrpcContext;

use super::container::Launcher;
use super::error::ServiceError;
use super::exec::Exec;
use super::service::Service;
use crate::wire::api::{self, Empty};
use crate::wire::{process_details, stats, timestamp};

/// The names under which the service is offered.
const NAMES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// The methods of a service under every name.
pub fn methods(service: &Arc<Service>) -> HashMap<String, ttrpc::asynchronous::Service> {
    let task = Arc::new(Tasks(service.clone()));
    NAMES
        .into_iter()
        .flat_map(|name| {
            create_task(task.clone())
                .into_values()
                .map(move |methods| (name.to_owned(), methods))
        })
        .collect()
}

fn status(state: State) -> api::Status {
    match state {
        State::Created => api::Status::CREATED,
        State::Running => api::Status::RUNNING,
        State::Paused => api::Status::PAUSED,
        State::Stopped(_) => api::Status::STOPPED,
    }
}

/// The service as ttrpc calls it.
struct Tasks(Arc<Service>);

impl Tasks {
    /// Runs a call to its end even if the client stops waiting for it: half a
    /// container helps nobody.
    async fn to_its_end<T, F>(&self, call: impl FnOnce(Arc<Service>) -> F) -> ttrpc::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        match tokio::spawn(call(self.0.clone())).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ServiceError::Setup(error.to_string()).into()),
        }
    }
}

#[async_trait]
impl Task for Tasks {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> ttrpc::Result<api::CreateTaskResponse> {
        let pid = self
            .to_its_end(|service| async move { service.create(&request).await })
            .await?;
        Ok(api::CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> ttrpc::Result<api::StartResponse> {
        let container = self.0.get(&request.id)?;
        let exec = match request.exec_id.as_str() {
            "" => None,
            id => Some(container.exec(id)?),
        };
        let pid = self
            .to_its_end(|service| async move {
                match exec {
                    Some(exec) => {
                        exec.start(&container, service.maker(), service.events())
                            .await
                    }
                    None => {
                        container.start(service.events()).await?;
                        Ok(container.pid())
                    }
                }
            })
            .await?;
        Ok(api::StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> ttrpc::Result<api::StateResponse> {
        let (container, process) = self.0.process(&request.id, &request.exec_id)?;
        let state = match (process.state_now(), container.init.state()) {
            // A container is paused with all that is in it.
            (state, State::Paused) if state.exit().is_none() => State::Paused,
            (state, _) => state,
        };
        let id = match request.exec_id.as_str() {
            "" => &request.id,
            id => id,
        };
        let mut response = api::StateResponse {
            id: id.to_owned(),
            bundle: container.bundle.display().to_string(),
            pid: process.pid(),
            status: EnumOrUnknown::new(status(state)),
            stdin: process.streams.stdin.clone(),
            stdout: process.streams.stdout.clone(),
            stderr: process.streams.stderr.clone(),
            terminal: process.streams.terminal,
            ..Default::default()
        };
        if let Some(exit) = state.exit() {
            response.exit_status = exit.status;
            response.exited_at = MessageField::some(timestamp(exit.at));
        }
        Ok(response)
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> ttrpc::Result<api::DeleteResponse> {
        if request.exec_id.is_empty() {
            self.0.abandon(&request.id).await;
            let container = self.0.get(&request.id)?;
            return self
                .to_its_end(|service| async move { service.delete(&container).await })
                .await;
        }
        let container = self.0.get(&request.id)?;
        let exec = container.exec(&request.exec_id)?;
        self.to_its_end(|_| async move {
            let exit = container.delete_exec(&exec).await?;
            Ok(deleted(exec.process.pid(), exit))
        })
        .await
    }

    async fn pids(
        &self,
        _: &TtrpcContext,
        request: api::PidsRequest,
    ) -> ttrpc::Result<api::PidsResponse> {
        if let Some(pid) = self.0.pid_of_sandbox(&request.id) {
            return Ok(api::PidsResponse {
                processes: vec![api::ProcessInfo {
                    pid,
                    ..Default::default()
                }],
                ..Default::default()
            });
        }
        let container = self.0.get(&request.id)?;
        let processes = container
            .pids()?
            .into_iter()
            .map(|pid| api::ProcessInfo {
                pid,
                info: container.exec_of(pid).map(|id| process_details(&id)).into(),
                ..Default::default()
            })
            .collect();
        Ok(api::PidsResponse {
            processes,
            ..Default::default()
        })
    }

    async fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> ttrpc::Result<Empty> {
        let container = self.0.get(&request.id)?;
        self.to_its_end(|service| async move { container.pause(service.events()).await })
            .await?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> ttrpc::Result<Empty> {
        let container = self.0.get(&request.id)?;
        self.to_its_end(|service| async move { container.resume(service.events()).await })
            .await?;
        Ok(Empty::new())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        request: api::CheckpointTaskRequest,
    ) -> ttrpc::Result<Empty> {
        let reason = match self.0.get(&request.id)?.launcher {
            Launcher::Wasm => "a Wasm guest cannot be checkpointed",
            Launcher::Native => "Linux programs cannot be checkpointed here; runc can, with CRIU",
        };
        Err(ServiceError::Unimplemented(reason.into()).into())
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<Empty> {
        let (container, process) = self.0.process(&request.id, &request.exec_id)?;
        container.kill(&process, request.signal, request.all)?;
        Ok(Empty::new())
    }

    async fn exec(
        &self,
        _: &TtrpcContext,
        request: api::ExecProcessRequest,
    ) -> ttrpc::Result<Empty> {
        let container = self.0.get(&request.id)?;
        container.add(Exec::new(&request)?, self.0.events())?;
        Ok(Empty::new())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: api::ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        let side = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let size = TerminalSize {
            width: side(request.width),
            height: side(request.height),
        };
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        if !request.exec_id.is_empty() && process.state().exit().is_some() {
            let reason = "cannot resize a stopped container";
            return Err(ServiceError::Refused(Refusal::WrongState(reason)).into());
        }
        process.resize(size)?;
        Ok(Empty::new())
    }

    async fn close_io(
        &self,
        _: &TtrpcContext,
        request: api::CloseIORequest,
    ) -> ttrpc::Result<Empty> {
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.close_stdin();
        }
        Ok(Empty::new())
    }

    async fn update(
        &self,
        _: &TtrpcContext,
        request: api::UpdateTaskRequest,
    ) -> ttrpc::Result<Empty> {
        let container = self.0.get(&request.id)?;
        let resources: LinuxResources = serde_json::from_slice(&request.resources.value)
            .map_err(|error| ServiceError::InvalidArgument(format!("resources: {error}")))?;
        container.update(resources).await?;
        Ok(Empty::new())
    }

    async fn wait(
        &self,
        _: &TtrpcContext,
        request: api::WaitRequest,
    ) -> ttrpc::Result<api::WaitResponse> {
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        let exit = process.wait_as_client().await;
        Ok(api::WaitResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn stats(
        &self,
        _: &TtrpcContext,
        request: api::StatsRequest,
    ) -> ttrpc::Result<api::StatsResponse> {
        let accounts = self
            .0
            .get(&request.id)?
            .cgroup
            .stats()
            .map_err(ServiceError::from)?;
        Ok(api::StatsResponse {
            stats: MessageField::some(stats::any(&accounts)),
            ..Default::default()
        })
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: api::ConnectRequest,
    ) -> ttrpc::Result<api::ConnectResponse> {
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self.0.pid_of(&request.id).unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> ttrpc::Result<Empty> {
        self.0.ask_shutdown_when_empty();
        Ok(Empty::new())
    }
}

pub(super) fn deleted(pid: u32, exit: Exit) -> api::DeleteResponse {
    api::DeleteResponse {
        pid,
        exit_status: exit.status,
        exited_at: MessageField::some(timestamp(exit.at)),
        ..Default::default()
    }
}
