//! Linux programs.

use std::fs::{self, File};
use std::io::Read;
use std::sync::mpsc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;

use crate::calls::{Case, Fixture, ID, LIMIT, exec_request, refusal, trials_of};
use crate::executor::LINUX;
use crate::server::fifo;

/// One trial for each behaviour.
pub fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 2] = [
        (
            "readers_are_told_of_the_end_of_what_was_never_started",
            readers_are_told_of_the_end_of_what_was_never_started,
        ),
        (
            "nothing_with_a_label_of_selinux_is_executed",
            nothing_with_a_label_of_selinux_is_executed,
        ),
    ];
    trials_of("linux", cases)
}

/// A bundle with a program that would stay.
fn sleeper() -> Result<Fixture> {
    let fixture = Fixture::new(LINUX, |_| json!({}))?;
    let root = fixture.bundle.join("rootfs");
    fs::copy("/bin/busybox", root.join(&LINUX[1..])).context("busybox-static is needed")?;
    let mut spec = fixture.spec()?;
    spec["process"]["args"] = json!([LINUX, "sleep", "1000"]);
    spec["mounts"] = json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
    ]);
    fs::write(fixture.bundle.join("config.json"), spec.to_string())?;
    Ok(fixture)
}

/// containerd reads its output to the end before it deletes it: when Start fails, or when it comes
/// back and finds it.
fn readers_are_told_of_the_end_of_what_was_never_started() -> Result<()> {
    let mut fixture = sleeper()?;
    let output = fixture.server.fifos().join("output");
    fifo(&output)?;
    let request = json!({ "id": ID, "bundle": fixture.bundle, "stdout": output });
    fixture.client.call("Create", &request)?.expect()?;
    let mut reader = File::open(&output)?;
    let (told, end) = mpsc::channel();
    std::thread::spawn(move || told.send(reader.read_to_end(&mut Vec::new())));
    let kill = json!({ "id": ID, "signal": 9 });
    fixture.client.call("Kill", &kill)?.expect()?;
    fixture.call("Wait")?;
    end.recv_timeout(LIMIT)
        .context("whoever reads its output waits for ever")??;
    fixture.call("Delete")?;
    fixture.expect_gone()
}

/// It would run with the label of the shim.
fn nothing_with_a_label_of_selinux_is_executed() -> Result<()> {
    const LABEL: &str = "system_u:system_r:container_t:s0";
    let mut fixture = sleeper()?;
    fixture.create()?.expect()?;
    fixture.call("Start")?;
    let mut execute = |exec_id: &str, label: &str| -> Result<_> {
        let process = json!({
            "args": [LINUX, "true"],
            "cwd": "/",
            "user": { "uid": 0, "gid": 0 },
            "selinuxLabel": label,
        });
        let request = exec_request(exec_id, &process);
        fixture.client.call("Exec", &request)?.expect()?;
        let request = json!({ "id": ID, "exec_id": exec_id });
        fixture.client.call("Start", &request)
    };
    execute("free", "")?.expect()?;
    let message = refusal(execute("labelled", LABEL)?)?;
    ensure!(
        message.contains("process.selinuxLabel") && message.contains(LABEL),
        "{message}"
    );
    let kill = json!({ "id": ID, "signal": 9 });
    fixture.client.call("Kill", &kill)?.expect()?;
    fixture.call("Wait")?;
    fixture.call("Delete")?;
    fixture.expect_gone()
}
