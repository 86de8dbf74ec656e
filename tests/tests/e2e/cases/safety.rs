//! Guests and images that reach for what is not theirs.

use anyhow::{Result, ensure};

use super::cases;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        no_library_of_the_image_is_loaded_for_a_name,
    ],
    on_each_engine: {
        as_with_runc: [
            random_bytes_differ,
        ],
        wasm: [
            nothing_outside_the_root_is_reached,
            there_are_no_devices_and_no_proc,
            a_bind_of_the_hosts_proc_gives_nothing_away,
            init_holds_no_other_descriptors,
            init_has_no_capabilities_left,
            no_library_of_the_image_is_loaded,
        ],
    },
}

/// Runs the guest that tries each of these, and returns its lines.
fn probe(test: &Test<'_>, flags: &[&str], probes: &[&str]) -> Result<Vec<String>> {
    let output = test
        .run(flags, &[&["/files.wasm"], probes].concat())?
        .expect(0)?;
    let lines: Vec<_> = output.stdout.lines().map(str::to_owned).collect();
    ensure!(
        lines.len() == probes.len(),
        "{} probes: {output:?}",
        probes.len()
    );
    Ok(lines)
}

/// Each probe must fail, or find nothing.
fn gets_nothing(lines: &[String]) -> Result<()> {
    for line in lines {
        let result = line.rsplit_once(": ").map_or("", |(_, result)| result);
        ensure!(
            result == "ok" || result.starts_with('E'),
            "{line}\nof {lines:#?}"
        );
    }
    Ok(())
}

fn nothing_outside_the_root_is_reached(test: &Test<'_>) -> Result<()> {
    let lines = probe(
        test,
        &[],
        &[
            "read:../../etc/shadow",
            "read:/../../../etc/shadow",
            "read:/work/../../../../etc/shadow",
            "read:/links/absolute",
            "read:/links/relative",
            "read:/links/root/etc/shadow",
            "read:/links/loop",
            "read:/proc/self/root/etc/shadow",
        ],
    )?;
    gets_nothing(&lines)?;
    // A link that a guest makes itself leads out as little.
    let lines = probe(
        test,
        &[],
        &[
            "link:/etc:/work/out",
            "link:../..:/work/up",
            "link:/proc/1/root:/work/init",
        ],
    )?;
    ensure!(lines.len() == 3);
    let lines = probe(
        test,
        &[],
        &[
            "link:../../../..:/work/up",
            "read:/work/up/etc/shadow",
            "link:/etc/shadow:/work/out",
            "read:/work/out",
        ],
    )?;
    gets_nothing(&[lines[1].clone(), lines[3].clone()])
}

fn there_are_no_devices_and_no_proc(test: &Test<'_>) -> Result<()> {
    let lines = probe(
        test,
        &[],
        &[
            "read:/proc/self/mem",
            "read:/proc/self/environ",
            "read:/proc/1/environ",
            "write:/proc/sysrq-trigger",
            "read:/dev/kmsg",
            "read:/dev/mem",
            "read:/dev/zero",
            "read:/sys/kernel/notes",
            "list:/proc",
            "list:/sys",
            // The mount point that the specification of `ctr` asks for.
            "list:/dev/shm",
        ],
    )?;
    let (written, rest): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|line| line.starts_with("write"));
    gets_nothing(&rest)?;
    ensure!(
        written.iter().all(|line| !line.ends_with(": ok")),
        "{written:?}"
    );
    Ok(())
}

fn a_bind_of_the_hosts_proc_gives_nothing_away(test: &Test<'_>) -> Result<()> {
    let mount = "type=bind,src=/proc,dst=/mnt/one,options=rbind:rw";
    let guest = [
        "/files.wasm",
        "read:/mnt/one/self/mem",
        "read:/mnt/one/1/environ",
        "read:/mnt/one/1/root/etc/shadow",
        "write:/mnt/one/sysrq-trigger",
        "list:/mnt/one/1",
    ];
    let output = test.run(&["--mount", mount], &guest)?;
    if output.code == 0 {
        // It ran, so the mount must be empty.
        let lines: Vec<_> = output.stdout.lines().map(str::to_owned).collect();
        gets_nothing(&lines)?;
        ensure!(!output.stdout.contains("sysrq-trigger: ok"), "{output:?}");
    } else {
        let text = format!("{}{}", output.stdout, output.stderr);
        ensure!(
            text.contains("/mnt/one") && text.contains("proc"),
            "the message does not name the mount: {output:?}"
        );
    }
    test.next_container_runs()
}

fn random_bytes_differ(test: &Test<'_>) -> Result<()> {
    let first = test.run(&[], &["/random.wasm"])?.expect(0)?.stdout;
    let second = test.run(&[], &["/random.wasm"])?.expect(0)?.stdout;
    ensure!(
        first.trim().len() == 32 && first != second,
        "{first}{second}"
    );
    Ok(())
}

/// Beside stdin, stdout and stderr: what engines and the kernel need to run a guest, none of
/// which leads to anything outside the container but its own code.
fn is_harmless(target: &str) -> bool {
    const KNOWN: [&str; 5] = [
        "anon_inode:[eventfd]",
        "anon_inode:[eventpoll]",
        "anon_inode:[signalfd]",
        "anon_inode:[timerfd]",
        "pipe:[",
    ];
    // Code is named by its digest, in a mount that has no place.
    let code = target.strip_prefix('/').unwrap_or_default();
    let is_code = code.len() == 64 && code.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_code || KNOWN.iter().any(|known| target.starts_with(known))
}

fn init_holds_no_other_descriptors(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let (pid, _) = test.task()?;
    let script = format!("for fd in /proc/{pid}/fd/*; do echo ${{fd##*/}} $(readlink $fd); done");
    let list = test.exec(&["sh", "-c", &script])?.expect(0)?;
    let sizes = test.exec(&["sh", "-c", &format!("readlink /proc/{pid}/root")])?;
    test.remove()?;
    for line in list.stdout.lines() {
        let (number, target) = line.split_once(' ').unwrap_or((line, ""));
        let number: u32 = number.parse()?;
        // A folder of the container is seen by its path in it; all its files are in the root.
        let own = ["/", "/work", "/mnt"].contains(&target);
        ensure!(
            number < 3 || own || is_harmless(target),
            "{line} in {list:?} {sizes:?}"
        );
    }
    Ok(())
}

fn init_has_no_capabilities_left(test: &Test<'_>) -> Result<()> {
    test.run_detached(&["--seccomp"], &["/sleep.wasm", "60"])?;
    let (pid, _) = test.task()?;
    let status = test
        .exec(&["cat", &format!("/proc/{pid}/status")])?
        .expect(0)?;
    test.remove()?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let line = format!("{set}:\t0000000000000000");
        ensure!(
            status.stdout.lines().any(|seen| seen == line),
            "no `{line}`: {status:?}"
        );
    }
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        ensure!(
            status.stdout.lines().any(|seen| seen == line),
            "no `{line}`: {status:?}"
        );
    }
    Ok(())
}

fn no_library_of_the_image_is_loaded(test: &Test<'_>) -> Result<()> {
    let runtime = test.mode.runtime();
    let image = "trireme.test/hostile:latest";
    let probes = [
        "/files.wasm",
        "read:/library-was-loaded",
        "read:/etc/nsswitch.conf",
    ];
    let output = test.run_of(runtime, image, &probes)?.expect(0)?;
    ensure!(
        output
            .stdout
            .starts_with("read /library-was-loaded: ENOENT\n"),
        "{output:?}"
    );
    ensure!(
        output.stdout.contains("nsswitch.conf: ok passwd: hostile"),
        "{output:?}"
    );
    ensure!(!output.stderr.contains("was loaded"), "{output:?}");
    Ok(())
}

fn no_library_of_the_image_is_loaded_for_a_name(test: &Test<'_>) -> Result<()> {
    let guest = ["/talk.wasm", "names", "localhost", "harbour.example"];
    let output = test
        .run_of(test.mode.runtime(), "trireme.test/hostile:latest", &guest)?
        .expect(1)?;
    ensure!(
        output.stdout == "localhost: 127.0.0.1\nharbour.example: temporary-resolver-failure\n"
            && output.stderr.is_empty(),
        "{output:?}"
    );
    Ok(())
}
