//! Containers by containerd's own API, which `ctr` calls.

use std::process::Command;

use anyhow::{Context, Result};

use super::{AT_ONCE, Fleet, SLEEP};
use crate::command::run;
use crate::interrupt;
use crate::peer::{NULL, Peer};

/// The null shim under the name by which its tasks sleep.
const NULL_SLEEPS: &str = "io.containerd.null-sleep.v1";
/// What their names begin with.
const PREFIX: &str = "sleeper-";

/// The same peers, with containers that sleep.
pub fn sleeping(peers: Vec<Peer>) -> Vec<Peer> {
    let sleeping = |mut peer: Peer| {
        if peer.name == NULL {
            NULL_SLEEPS.clone_into(&mut peer.runtime);
        }
        peer.arguments = SLEEP.map(str::to_owned).to_vec();
        peer
    };
    peers.into_iter().map(sleeping).collect()
}

/// Containers of one peer.
pub struct Containers<'a> {
    peer: &'a Peer,
    /// How many were asked for.
    count: usize,
}

impl<'a> Containers<'a> {
    /// None yet.
    pub fn of(peer: &'a Peer) -> Self {
        Self { peer, count: 0 }
    }
}

impl Fleet for Containers<'_> {
    fn fill(&mut self, count: usize) -> Result<()> {
        while self.count < count {
            interrupt::check()?;
            let name = format!("{PREFIX}{}", self.count);
            self.count += 1;
            let mut command = Command::new("ctr");
            command.args(["run", "--detach", "--null-io", "--runtime"]);
            command.arg(&self.peer.runtime);
            if let Some(binary) = &self.peer.runc_binary {
                command.args(["--runc-binary", binary]);
            }
            for (key, value) in &self.peer.annotations {
                command.args(["--annotation", &format!("{key}={value}")]);
            }
            command.args([&self.peer.image, &name]);
            command.args(&self.peer.arguments);
            run(&mut command).with_context(|| format!("start {name}"))?;
        }
        Ok(())
    }

    fn remove_all(&mut self) -> Result<()> {
        self.count = 0;
        let mut result = Ok(());
        for names in names()?.chunks(AT_ONCE) {
            // What has no task is not to be deleted, and what has one can only be without it.
            let _ = run(Command::new("ctr")
                .args(["task", "delete", "--force"])
                .args(names));
            let done = run(Command::new("ctr")
                .args(["container", "delete"])
                .args(names));
            result = result.and(done.map(drop));
        }
        result
    }
}

impl Drop for Containers<'_> {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        if let Err(error) = self.remove_all() {
            eprintln!("bench: remove sleepers: {error:#}");
        }
    }
}

/// The names of those that there are, of a run that was killed too.
fn names() -> Result<Vec<String>> {
    let text = run(Command::new("ctr").args(["container", "list", "--quiet"]))?;
    let names = text.lines().filter(|name| name.starts_with(PREFIX));
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer;

    #[test]
    fn only_the_null_shim_has_another_name_for_it() {
        for (peer, sleeping) in peer::all().iter().zip(sleeping(peer::all())) {
            let is_null = peer.name == NULL;
            assert_eq!(peer.runtime != sleeping.runtime, is_null, "{}", peer.name);
            assert_eq!(sleeping.arguments, SLEEP);
        }
    }
}
