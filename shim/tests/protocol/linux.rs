//! Linux programs.

use std::fs::{self, File};
use std::io::Read;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use trireme_tests::protocol::client::Answer;

use crate::calls::{Case, Fixture, ID, LIMIT, exec_request, refusal, trials_of};
use crate::executor::LINUX;
use crate::server::fifo;

/// One trial for each behaviour.
pub fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 3] = [
        (
            "what_nobody_waits_for_any_more_is_ended_at_whatever_moment",
            what_nobody_waits_for_any_more_is_ended_at_whatever_moment,
        ),
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

/// It is made in some milliseconds, by several processes one after the other.
fn what_nobody_waits_for_any_more_is_ended_at_whatever_moment() -> Result<()> {
    const MOMENTS: u32 = 40;
    let mut fixture = sleeper()?;
    let server = fixture.server.pid();
    let request = json!({ "id": ID, "bundle": fixture.bundle });
    for moment in 0..MOMENTS {
        let create = fixture.client.send("Create", &request)?;
        std::thread::sleep(moment * Duration::from_millis(1));
        // What has been made by then is deleted.
        let _ = fixture.client.call("Delete", &json!({ "id": ID }))?;
        let made = fixture.client.answer(&create, LIMIT)?;
        if let Answer::Response(_) = made.context("Create goes on")? {
            let _ = fixture.client.call("Delete", &json!({ "id": ID }))?;
        }
        let deadline = Instant::now() + LIMIT;
        while let children = children(server)?
            && !children.is_empty()
        {
            ensure!(Instant::now() < deadline, "after {moment} ms: {children:?}");
        }
        fixture.expect_gone()?;
    }
    Ok(())
}

/// The children of a process, with the names of their programs.
fn children(pid: u64) -> Result<Vec<String>> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let name = |pid: &str| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{pid} {}", name.trim())
    };
    Ok(list.split_ascii_whitespace().map(name).collect())
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
