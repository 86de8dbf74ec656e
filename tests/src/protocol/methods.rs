//! The methods of the task and sandbox services and the messages they take and give.

use anyhow::{Result, bail};
use containerd_shim_protos::protobuf::{MessageFull, reflect::MessageDescriptor};
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::{api, sandbox_api as pod};

/// The task service until containerd 1.7.
pub const TASK_V2: &str = "containerd.task.v2.Task";
/// The task service since containerd 2.0.
pub const TASK_V3: &str = "containerd.task.v3.Task";
/// The sandbox service (`api/runtime/sandbox/v1/sandbox.proto` of containerd).
pub const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";
/// The methods of the task service.
pub const TASK_METHODS: [&str; 17] = [
    "Checkpoint",
    "CloseIO",
    "Connect",
    "Create",
    "Delete",
    "Exec",
    "Kill",
    "Pause",
    "Pids",
    "ResizePty",
    "Resume",
    "Shutdown",
    "Start",
    "State",
    "Stats",
    "Update",
    "Wait",
];

/// Those that can be about a process beside a container's first one, but for Start: asked to start
/// one that runs, the runc shim of containerd 1.7 and later counts its end twice and ends itself
/// with the container (`task/service.go`, `runningExecs`).
pub const EXEC_METHODS: [&str; 7] = [
    "CloseIO",
    "Delete",
    "Exec",
    "Kill",
    "ResizePty",
    "State",
    "Wait",
];

/// The methods of the sandbox service.
pub const SANDBOX_METHODS: [&str; 9] = [
    "CreateSandbox",
    "PingSandbox",
    "Platform",
    "SandboxMetrics",
    "SandboxStatus",
    "ShutdownSandbox",
    "StartSandbox",
    "StopSandbox",
    "WaitSandbox",
];

/// The messages of a method.
#[derive(Debug)]
pub struct Messages {
    /// What it takes.
    pub request: MessageDescriptor,
    /// What it gives.
    pub response: MessageDescriptor,
}

/// The messages of a method of the task service, of the sandbox service, or of `Events.Forward`.
///
/// # Errors
///
/// For a name that is no method.
pub fn messages(method: &str) -> Result<Messages> {
    fn of<Q: MessageFull, A: MessageFull>() -> Messages {
        Messages {
            request: Q::descriptor(),
            response: A::descriptor(),
        }
    }
    type Nothing = api::Empty;
    Ok(match method {
        "Checkpoint" => of::<api::CheckpointTaskRequest, Nothing>(),
        "CloseIO" => of::<api::CloseIORequest, Nothing>(),
        "Connect" => of::<api::ConnectRequest, api::ConnectResponse>(),
        "Create" => of::<api::CreateTaskRequest, api::CreateTaskResponse>(),
        "Delete" => of::<api::DeleteRequest, api::DeleteResponse>(),
        "Exec" => of::<api::ExecProcessRequest, Nothing>(),
        "Kill" => of::<api::KillRequest, Nothing>(),
        "Pause" => of::<api::PauseRequest, Nothing>(),
        "Pids" => of::<api::PidsRequest, api::PidsResponse>(),
        "ResizePty" => of::<api::ResizePtyRequest, Nothing>(),
        "Resume" => of::<api::ResumeRequest, Nothing>(),
        "Shutdown" => of::<api::ShutdownRequest, Nothing>(),
        "Start" => of::<api::StartRequest, api::StartResponse>(),
        "State" => of::<api::StateRequest, api::StateResponse>(),
        "Stats" => of::<api::StatsRequest, api::StatsResponse>(),
        "Update" => of::<api::UpdateTaskRequest, Nothing>(),
        "Wait" => of::<api::WaitRequest, api::WaitResponse>(),
        "CreateSandbox" => of::<pod::CreateSandboxRequest, pod::CreateSandboxResponse>(),
        "PingSandbox" => of::<pod::PingRequest, pod::PingResponse>(),
        "Platform" => of::<pod::PlatformRequest, pod::PlatformResponse>(),
        "SandboxMetrics" => of::<pod::SandboxMetricsRequest, pod::SandboxMetricsResponse>(),
        "SandboxStatus" => of::<pod::SandboxStatusRequest, pod::SandboxStatusResponse>(),
        "ShutdownSandbox" => of::<pod::ShutdownSandboxRequest, pod::ShutdownSandboxResponse>(),
        "StartSandbox" => of::<pod::StartSandboxRequest, pod::StartSandboxResponse>(),
        "StopSandbox" => of::<pod::StopSandboxRequest, pod::StopSandboxResponse>(),
        "WaitSandbox" => of::<pod::WaitSandboxRequest, pod::WaitSandboxResponse>(),
        "Forward" => of::<ForwardRequest, Nothing>(),
        _ => bail!("`{method}` is no method of a shim"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_messages() {
        for method in TASK_METHODS.iter().chain(&SANDBOX_METHODS) {
            messages(method).unwrap();
        }
    }
}
