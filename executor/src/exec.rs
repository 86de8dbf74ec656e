//! `trireme-executor exec`: from a fresh process to a guest beside a container's
//! init, in init's namespaces and cgroup.
//!
//! The program is opened in init's tree first: a Linux program needs no engine.
//! The engine is set up while this process sees the host's files, as in init; then
//! it joins init's tree for good, drops its privileges, and goes on in a copy that is born in
//! init's pid namespace: nobody there has seen it before.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use anyhow::Result;
use trireme_container::crash;
use trireme_container::init::{self as container, credentials, rootfs};
use trireme_container::link::{FromInit, InitOrder, Link};
use trireme_container::process::{Cradle, SUBJECT_FD};

use crate::deadline;
use crate::init::{self, EngineSource, Prepared};

/// Joins a container.
pub fn prepare(link: &Link, order: File, source: EngineSource) -> Result<Prepared> {
    // SAFETY: the server hands this descriptor over by its number; nothing else
    // in this process knows of it.
    let parent = unsafe { OwnedFd::from_raw_fd(SUBJECT_FD) };
    container::harden(SUBJECT_FD)?;
    crash::keep();
    // SAFETY: the standard streams are the guest's, and nothing here owns them.
    let received = unsafe { container::order::receive(link, order, |_| ())? };
    let InitOrder {
        mut plan,
        filter,
        terminal,
        ..
    } = received.order;
    if let Some(adjustment) = plan.oom_score_adj {
        container::adjust_oom_score(adjustment)?;
    }
    let tree = rootfs::Tree::of(&plan, parent.as_fd())?;
    let found = init::look_up(link, &tree, &plan)?;
    // While the server looks for the code, or has it compiled.
    deadline::report_to_server();
    let engine = source.engine(&plan.engine)?;
    let home = init::home(&tree, &plan);
    container::is_alone()?;
    tree.join(parent.as_fd())?;
    let cradle = Cradle::beside(parent)?;
    credentials::drop_privileges(&plan)?;
    // SAFETY: this process is alone.
    unsafe { cradle.be_born(link, terminal, |pid| FromInit::Born { pid })? };
    if let Some(filter) = &filter {
        filter.install()?;
    }
    let kind = match found {
        Some(kind) => kind,
        None => init::elsewhere(link, &mut plan)?,
    };
    init::load(link, plan, engine, kind, home)
}
