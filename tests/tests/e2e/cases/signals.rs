//! Signals: a guest has no handlers, so every signal that ends a process ends it at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::cases;
use crate::command::LIMIT;
use crate::test::Test;

/// How long a guest may live on after its signal, `ctr`'s own way included.
const AT_ONCE: Duration = Duration::from_secs(1);

cases! {
    as_with_runc: [
        sigkill_before_start_leaves_nothing,
    ],
    wasm: [
        sigterm_before_start_ends_the_task,
    ],
    on_each_engine: {
        as_with_runc: [
            sigkill_ends_a_guest_in_a_loop,
            sigkill_ends_a_guest_in_a_read,
        ],
        wasm: [
            sigterm_ends_a_guest_in_a_loop,
            sigterm_ends_a_guest_in_a_read,
            sigterm_ends_a_guest_asleep,
            sigint_and_sighup_end_a_guest,
        ],
    },
}

fn ends(test: &Test<'_>, guest: &[&str], said: &str, signal: &str, code: i32) -> Result<()> {
    let mut running = test.start_guest(&[], guest)?;
    running.wait_for(said)?;
    let sent = Instant::now();
    test.ctr(&["task", "kill", "--signal", signal, &test.id])?;
    running.finish(LIMIT)?.expect(code)?;
    let took = sent.elapsed();
    ensure!(took < AT_ONCE, "{signal} took {took:?}");
    Ok(())
}

fn sigkill_ends_a_guest_in_a_loop(test: &Test<'_>) -> Result<()> {
    ends(test, &["/spin.wasm"], "spinning", "SIGKILL", 137)
}

fn sigkill_ends_a_guest_in_a_read(test: &Test<'_>) -> Result<()> {
    ends(test, &["/read.wasm"], "reading", "SIGKILL", 137)
}

fn sigterm_ends_a_guest_in_a_loop(test: &Test<'_>) -> Result<()> {
    ends(test, &["/spin.wasm"], "spinning", "SIGTERM", 143)
}

fn sigterm_ends_a_guest_in_a_read(test: &Test<'_>) -> Result<()> {
    ends(test, &["/read.wasm"], "reading", "SIGTERM", 143)
}

fn sigterm_ends_a_guest_asleep(test: &Test<'_>) -> Result<()> {
    ends(test, &["/sleep.wasm", "60"], "sleeping", "SIGTERM", 143)
}

fn sigint_and_sighup_end_a_guest(test: &Test<'_>) -> Result<()> {
    ends(test, &["/spin.wasm"], "spinning", "SIGINT", 130)?;
    ends(test, &["/read.wasm"], "reading", "SIGHUP", 129)
}

/// A network plugin that waits until somebody reads from its gate, then says that all is well.
const GATE: &str = r#"
mkdir -p /opt/cni/bin /etc/cni/net.d
mkfifo /run/gate
cat > /etc/cni/net.d/00-gate.conf << 'END'
{ "cniVersion": "0.4.0", "name": "gate", "type": "gate" }
END
cat > /opt/cni/bin/gate << 'END'
#!/bin/sh
case $CNI_COMMAND in
ADD) echo passed > /run/gate ;;
VERSION) echo '{ "cniVersion": "0.4.0", "supportedVersions": ["0.4.0"] }'; exit ;;
esac
echo '{ "cniVersion": "0.4.0", "interfaces": [{ "name": "eth0", "sandbox": "gate" }],
    "ips": [{ "version": "4", "address": "127.0.0.9/8", "interface": 0 }] }'
END
chmod +x /opt/cni/bin/gate
"#;

/// `ctr run` is held between Create and Start by its network plugin.
fn killed_before_start(test: &Test<'_>, signal: &str) -> Result<()> {
    test.exec(&["sh", "-ec", GATE])?.expect(0)?;
    let running = test.start_guest(&["--cni"], &["/sleep.wasm", "60"])?;
    test.wait_for_task()?;
    let status = test.task()?.1;
    let kill = test.exec(&["ctr", "task", "kill", "--signal", signal, &test.id])?;
    test.wait_for_status("STOPPED")?;
    let open = "cat /run/gate; rm /run/gate /etc/cni/net.d/00-gate.conf /opt/cni/bin/gate";
    test.exec(&["sh", "-ec", open])?.expect(0)?;
    let output = running.finish(LIMIT)?;
    ensure!(status == "CREATED" && kill.code == 0, "{status}, {kill:?}");
    ensure!(
        output.code != 0 && !output.stdout.contains("sleeping"),
        "{output:?}"
    );
    Ok(())
}

fn sigkill_before_start_leaves_nothing(test: &Test<'_>) -> Result<()> {
    killed_before_start(test, "SIGKILL")
}

fn sigterm_before_start_ends_the_task(test: &Test<'_>) -> Result<()> {
    killed_before_start(test, "SIGTERM")
}
