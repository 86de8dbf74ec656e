//! What is of cgroup v2 and of systemd.

use anyhow::{Result, ensure};

use super::cases;
use crate::test::Test;

cases! {
    needs: Cgroup2,
    as_with_runc: [
        a_linux_program_opens_devices_that_are_allowed_alone,
    ],
    wasm: [],
}

const LINUX: &str = "trireme.test/native:latest";
/// A device of the host that no container is given by itself, with its numbers.
const DISK: (&str, &str) = ("/dev/nvme0n1", "259 0");

/// What a shell in a container with this case's runtime prints.
fn shell(test: &Test<'_>, flags: &[&str], script: &str) -> Result<String> {
    let start = ["ctr", "run", "--rm", "--runtime", test.mode.runtime()];
    let program = [LINUX, &test.id, "/bin/sh", "-c", script];
    let output = test.exec(&[&start, flags, &program].concat())?;
    Ok(output.expect(0)?.stdout)
}

fn a_linux_program_opens_devices_that_are_allowed_alone(test: &Test<'_>) -> Result<()> {
    let (disk, numbers) = DISK;
    let script = format!(
        "mknod /disk b {numbers}; mknod /null c 1 3\n\
         for file in /disk /null; do head -c 1 $file 2>&1 >/dev/null && echo $file opens; done; true"
    );
    let said = shell(test, &[], &script)?;
    ensure!(
        said.contains("/disk: Operation not permitted") && said.ends_with("/null opens\n"),
        "{said}"
    );
    let said = shell(
        test,
        &["--device", disk],
        &format!("head -c 1 {disk} | wc -c"),
    )?;
    ensure!(said.trim() == "1", "{said}");
    Ok(())
}
