//! Programs that are in no container's tree: the server has another process
//! look for them in the content store.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use trireme_container::link::Link;
use trireme_core::plan::Plan;

use super::error::ServiceError;
use super::log::TaskLog;
use super::process::receive;
use super::ready;
use crate::fetch::{self, Answer, Module, Request};
use crate::order::Order;

/// How long that process may take; it gives up by itself before.
const LIMIT: Duration = Duration::from_secs(fetch::PATIENCE.as_secs() + 5);

/// A program that was found.
pub struct Found {
    /// What it is.
    pub module: Module,
    /// Its bytes.
    pub file: OwnedFd,
}

/// The program that the plan's entry point names in the container's image, or
/// `None` where that holds no such thing.
pub async fn find(
    order: &Order,
    plan: &Plan,
    log: &TaskLog,
) -> Result<Option<Found>, ServiceError> {
    let request = Request {
        address: order.containerd.clone(),
        namespace: order.namespace.clone(),
        id: plan.id.clone(),
        path: plan.entry.path.clone(),
    };
    let answer = tokio::time::timeout(LIMIT, ask(&request)).await;
    let failed = |reason: &str| {
        ServiceError::Setup(format!(
            "{}: looking for it in the container's image: {reason}",
            plan.entry
        ))
    };
    let answer = answer.map_err(|_| failed("it took too long"))?;
    match answer.map_err(|error| failed(&error.to_string()))? {
        Some((Answer::Module(module), Some(file))) => {
            log.debug(&format!("{} is {}", plan.entry, module.origin));
            Ok(Some(Found { module, file }))
        }
        Some((Answer::NotThere { reason }, _)) => {
            log.warn(&format!(
                "{} is not in the image either: {reason}",
                plan.entry
            ));
            Ok(None)
        }
        Some((Answer::Failed { message }, _)) => Err(failed(&message)),
        Some((Answer::Module(_), None)) | None => {
            Err(failed("the process that looked for it ended unexpectedly"))
        }
    }
}

/// Runs `trireme-shim fetch`, this very build of it, for one request. It ends
/// when nobody waits for it any more.
async fn ask(request: &Request) -> std::io::Result<Option<(Answer, Option<OwnedFd>)>> {
    let (here, there) = Link::pair()?;
    here.send(request, None)?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("trireme-shim")
        .arg("fetch")
        .stdin(Stdio::from(OwnedFd::from(there)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    here.set_nonblocking()?;
    let here = ready::of(here)?;
    let answer = receive::<Answer>(&here).await;
    child.wait().await?;
    answer
}
