//! Locks of what is made once, by whichever call needs it first.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

/// Takes an exclusive lock on a file, which is made if need be, for as long as the answer lives; says
/// so where somebody else has it, and waits.
pub fn exclusive(file: &Path, what: &str) -> Result<Flock<File>> {
    let file = File::create(file).with_context(|| format!("create {}", file.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, _)) => {
            eprintln!("host: {what}: another call is making it");
            Ok(Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?)
        }
    }
}
