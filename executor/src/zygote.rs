//! `trireme-executor zygote`: an engine that waits for guests, each of which runs in a
//! copy of this process.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use trireme_container::init::{self as container, credentials, signals};
use trireme_container::link::Link;
use trireme_container::process::{LINK_FD, PLAN_FD};
use trireme_container::zygote::{self, FromZygote, Role};
use trireme_core::message;
use trireme_core::request::EngineChoice;
use trireme_engine::Engine;

use crate::init::{self, EngineSource};
use crate::title::Title;
use crate::{deadline, engines, exec, guest};

/// Serves until the server hangs up; in a copy, runs its guest.
pub fn main() -> Result<u8> {
    // SAFETY: the server hands these two descriptors over by their numbers;
    // nothing else in this process knows of them.
    let (link, order) = unsafe {
        (
            Link::from(OwnedFd::from_raw_fd(LINK_FD)),
            File::from_raw_fd(PLAN_FD),
        )
    };
    container::harden(PLAN_FD)?;
    deadline::report_to_server();
    guest::name_process("trireme-zygote");
    let (title, engine, choice) = match hold(order) {
        Ok(held) => held,
        Err(error) => {
            let message = message::of(error.as_ref());
            link.send(&FromZygote::Failed { message }, None)?;
            return Ok(crate::FAILED);
        }
    };
    link.send(&FromZygote::Ready, None)?;
    // SAFETY: `hold` has looked for other threads, and the link is forgotten.
    let Some(role) = (unsafe { zygote::serve(&link)? }) else {
        return Ok(0);
    };
    // Its number is that of the copy's own link now.
    std::mem::forget(link);
    guest::name_process("trireme-executor");
    let source = EngineSource::Made(engine, Box::new(choice));
    match role {
        Role::Init => {
            title.set("init");
            init::main(init::prepare, source)
        }
        Role::Exec => {
            title.set("exec");
            init::main(exec::prepare, source)
        }
    }
}

/// Sets up the engine of an order, and all that a copy will want of it.
fn hold(mut order: File) -> Result<(Title, Box<dyn Engine>, EngineChoice)> {
    let mut text = Vec::new();
    order
        .read_to_end(&mut text)
        .context("cannot read what engine to hold")?;
    drop(order);
    let choice: EngineChoice =
        serde_json::from_slice(&text).context("the engine to hold is not understood")?;
    let title = Title::find().context("the arguments of this process cannot be found")?;
    let engine = engines::create(&choice)?;
    engine.warm_up()?;
    signals::install().context("cannot install signal handlers")?;
    // Neither this process nor a copy executes another program.
    credentials::clear_bounding_set()?;
    can_be_copied()?;
    Ok((title, engine, choice))
}

/// A second thread would be missing in a copy, with whatever it holds locked; and
/// other descriptors than those of a copy are closed there.
fn can_be_copied() -> Result<()> {
    container::is_alone()?;
    let open = fs::read_dir("/proc/self/fd").context("cannot see the open descriptors")?;
    // Standard streams, the link, and the folder that is being read.
    const OWN: usize = LINK_FD as usize + 2;
    let count = open.count();
    ensure!(
        count == OWN,
        "the engine keeps {} descriptors open",
        count.saturating_sub(OWN)
    );
    Ok(())
}
