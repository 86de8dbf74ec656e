//! Requests of `trireme`, JSON on an inherited descriptor.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, RawFd};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

/// Reads the request that the arguments `--request-fd N` name.
pub fn read<T: DeserializeOwned>(mut args: impl Iterator<Item = String>) -> Result<T> {
    let (flag, number) = (args.next(), args.next());
    ensure!(
        flag.as_deref() == Some("--request-fd"),
        "expected --request-fd N; this program is run by `trireme`"
    );
    let fd: RawFd = number
        .and_then(|number| number.parse().ok())
        .filter(|fd| *fd > 2)
        .context("--request-fd takes the number of an inherited descriptor")?;
    // SAFETY: the caller hands this descriptor over for the request alone; a
    // number that is not open fails in the first read.
    let mut file = unsafe { File::from_raw_fd(fd) };
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .context("cannot read the request")?;
    serde_json::from_slice(&text).context(
        "the request is not understood; are `trireme` and `trireme-executor` of one version?",
    )
}
