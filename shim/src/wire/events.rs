//! Events of tasks (containerd `api/events/task.proto`, `core/runtime/events.go`).

use std::time::SystemTime;

pub use containerd_shim_protos::events::task as task_events;
use containerd_shim_protos::shim::event::Envelope;
pub use containerd_shim_protos::shim::events::ForwardRequest;
use protobuf::well_known_types::any::Any;
use protobuf::{MessageField, MessageFull};
use trireme_core::lifecycle::Exit;

use super::{protobuf, timestamp};

/// Something that happened to a task.
#[derive(Clone, Debug)]
pub enum Event {
    /// It was created.
    Create(Box<task_events::TaskCreate>),
    /// It was started.
    Start {
        /// The container's id.
        id: String,
        /// Its pid.
        pid: u32,
    },
    /// Another process was promised.
    ExecAdded {
        /// The container's id.
        id: String,
        /// The process's id.
        exec_id: String,
    },
    /// The other process was started.
    ExecStarted {
        /// The container's id.
        id: String,
        /// The process's id.
        exec_id: String,
        /// Its pid.
        pid: u32,
    },
    /// The kernel killed a process of it for want of memory.
    Oom {
        /// The container's id.
        id: String,
    },
    /// A process of it ended.
    Exit {
        /// The container's id.
        id: String,
        /// The process's id; init's is the container's.
        process: String,
        /// Its pid.
        pid: u32,
        /// How.
        exit: Exit,
    },
    /// It was deleted.
    Delete {
        /// The container's id.
        id: String,
        /// Its pid.
        pid: u32,
        /// How it had ended.
        exit: Exit,
    },
    /// It was stopped in its tracks.
    Paused {
        /// The container's id.
        id: String,
    },
    /// It goes on.
    Resumed {
        /// The container's id.
        id: String,
    },
}

/// The event as containerd takes it.
pub fn envelope(namespace: &str, event: &Event) -> ForwardRequest {
    let (topic, event) = encode(event);
    let envelope = Envelope {
        timestamp: MessageField::some(timestamp(SystemTime::now())),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: MessageField::some(event),
        ..Envelope::default()
    };
    ForwardRequest {
        envelope: MessageField::some(envelope),
        ..ForwardRequest::default()
    }
}

fn encode(event: &Event) -> (&'static str, Any) {
    match event {
        Event::Create(create) => ("/tasks/create", any(&**create)),
        Event::Start { id, pid } => (
            "/tasks/start",
            any(&task_events::TaskStart {
                container_id: id.clone(),
                pid: *pid,
                ..Default::default()
            }),
        ),
        Event::ExecAdded { id, exec_id } => (
            "/tasks/exec-added",
            any(&task_events::TaskExecAdded {
                container_id: id.clone(),
                exec_id: exec_id.clone(),
                ..Default::default()
            }),
        ),
        Event::ExecStarted { id, exec_id, pid } => (
            "/tasks/exec-started",
            any(&task_events::TaskExecStarted {
                container_id: id.clone(),
                exec_id: exec_id.clone(),
                pid: *pid,
                ..Default::default()
            }),
        ),
        Event::Oom { id } => (
            "/tasks/oom",
            any(&task_events::TaskOOM {
                container_id: id.clone(),
                ..Default::default()
            }),
        ),
        Event::Exit {
            id,
            process,
            pid,
            exit,
        } => (
            "/tasks/exit",
            any(&task_events::TaskExit {
                container_id: id.clone(),
                id: process.clone(),
                pid: *pid,
                exit_status: exit.status,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..Default::default()
            }),
        ),
        Event::Delete { id, pid, exit } => (
            "/tasks/delete",
            any(&task_events::TaskDelete {
                container_id: id.clone(),
                pid: *pid,
                exit_status: exit.status,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..Default::default()
            }),
        ),
        Event::Paused { id } => (
            "/tasks/paused",
            any(&task_events::TaskPaused {
                container_id: id.clone(),
                ..Default::default()
            }),
        ),
        Event::Resumed { id } => (
            "/tasks/resumed",
            any(&task_events::TaskResumed {
                container_id: id.clone(),
                ..Default::default()
            }),
        ),
    }
}

fn any<M: MessageFull>(message: &M) -> Any {
    Any {
        type_url: M::descriptor().full_name().to_owned(),
        value: message.write_to_bytes().unwrap_or_default(),
        ..Any::default()
    }
}
