//! Errors as containerd understands them: a gRPC status and a message.

use trireme_container::SysError;
use trireme_container::cgroup::CgroupError;
use trireme_container::filter::FilterError;
use trireme_container::stdio::StdioError;
use trireme_core::lifecycle::Refusal;
use trireme_core::message;
use trireme_core::plan::PlanError;
use trireme_core::spec::SpecError;
use ttrpc::Code;

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no such container or process.
    #[error("{0}")]
    NotFound(String),
    /// There is one already.
    #[error("{0}")]
    AlreadyExists(String),
    /// This shim does not offer the call.
    #[error("{0}")]
    Unimplemented(String),
    /// The request makes no sense.
    #[error("{0}")]
    InvalidArgument(String),
    /// Something that has to be so is not.
    #[error("{0}")]
    Precondition(String),
    /// The container is in a state that does not allow the call.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was asked for cannot be done. Where a container or an exec cannot be set up, the
    /// message says which, and what is to be changed.
    #[error("{0}")]
    Setup(String),
    /// The specification cannot be read.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The specification cannot be honoured.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The cgroups cannot be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// There is no system call filter for the profile.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The streams cannot be opened.
    #[error(transparent)]
    Stdio(#[from] StdioError),
    /// The kernel refused.
    #[error(transparent)]
    Sys(#[from] SysError),
}

impl ServiceError {
    fn code(&self) -> Code {
        match self {
            ServiceError::NotFound(_) | ServiceError::Refused(Refusal::NotFound(_)) => {
                Code::NOT_FOUND
            }
            ServiceError::AlreadyExists(_) => Code::ALREADY_EXISTS,
            ServiceError::Unimplemented(_) => Code::UNIMPLEMENTED,
            ServiceError::InvalidArgument(_) => Code::INVALID_ARGUMENT,
            ServiceError::Precondition(_) => Code::FAILED_PRECONDITION,
            // What the runc shim answers with for these is a plain error.
            _ => Code::UNKNOWN,
        }
    }
}

impl From<ServiceError> for ttrpc::Error {
    fn from(error: ServiceError) -> Self {
        let code = error.code();
        let message = format!("{}{}", message::of(&error), class(code));
        ttrpc::Error::RpcStatus(ttrpc::get_status(code, message))
    }
}

/// What Go's shims end a message with (containerd/errdefs `errgrpc`); clients
/// take it off again when they have read the status.
fn class(code: Code) -> &'static str {
    match code {
        Code::NOT_FOUND => ": not found",
        Code::ALREADY_EXISTS => ": already exists",
        Code::UNIMPLEMENTED => ": not implemented",
        Code::INVALID_ARGUMENT => ": invalid argument",
        Code::FAILED_PRECONDITION => ": failed precondition",
        _ => "",
    }
}
