//! Guests and images that reach for what is not theirs.

use anyhow::{Result, ensure};

use super::cases;
use crate::test::Test;

cases! {
    as_with_runc: [
        a_linux_program_is_confined_as_its_specification_asks,
        a_linux_program_finds_no_call_that_is_newer_than_its_profile,
        a_linux_program_has_the_home_of_its_user,
        a_linux_program_that_cannot_be_confined_does_not_start,
        no_library_of_the_image_is_loaded_for_a_linux_program,
    ],
    wasm: [
        no_library_of_the_image_is_loaded_for_a_name,
        no_link_on_a_mount_is_followed_where_that_is_asked_for,
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

/// By the default filter and capabilities of containerd, with and without `no_new_privs`.
fn a_linux_program_is_confined_as_its_specification_asks(test: &Test<'_>) -> Result<()> {
    const ALL: &str = "00000000a80425fb";
    const NONE: &str = "0000000000000000";
    let gains: [(&[&str], &str); 2] = [(&[], "1"), (&["--allow-new-privs"], "0")];
    let users = [("latest", ALL), ("sailor", NONE)];
    for ((gains, no_new_privs), (user, own)) in gains
        .into_iter()
        .flat_map(|gains| users.map(|user| (gains, user)))
    {
        let flags = [&["--seccomp"], gains].concat();
        let image = format!("trireme.test/native:{user}");
        let status = test.run_linux(&image, &flags, &["/bin/cat", "/proc/self/status"])?;
        let status = status.expect(0)?;
        for line in [
            format!("CapInh:\t{NONE}"),
            format!("CapPrm:\t{own}"),
            format!("CapEff:\t{own}"),
            format!("CapBnd:\t{ALL}"),
            format!("CapAmb:\t{NONE}"),
            format!("NoNewPrivs:\t{no_new_privs}"),
            "Seccomp:\t2".to_owned(),
            "Seccomp_filters:\t1".to_owned(),
        ] {
            let is_there = status.stdout.lines().any(|seen| seen == line);
            ensure!(is_there, "{user}, {flags:?}: no `{line}`: {status:?}");
        }
    }
    // Anybody may, but for that filter.
    let unshare = ["/bin/busybox", "unshare", "-U", "/bin/true"];
    let image = "trireme.test/native:latest";
    test.run_linux(image, &[], &unshare)?.expect(0)?;
    for gains in [&[][..], &["--allow-new-privs"]] {
        let flags = [&["--seccomp"], gains].concat();
        let refused = test.run_linux(image, &flags, &unshare)?.expect(1)?;
        let why = "Operation not permitted";
        ensure!(refused.stderr.contains(why), "{refused:?}");
    }
    Ok(())
}

/// It does without what is not there, but not without what it is denied.
fn a_linux_program_finds_no_call_that_is_newer_than_its_profile(test: &Test<'_>) -> Result<()> {
    let image = "trireme.test/native:latest";
    // `unshare` of nothing, which the default profile does not list, and one that no kernel has.
    for (flags, call, answer) in [
        (&[][..], "272", "OK"),
        (&["--seccomp"], "272", "EPERM"),
        (&["--seccomp"], "1000", "ENOSYS"),
        (&["--seccomp", "--allow-new-privs"], "1000", "ENOSYS"),
    ] {
        let output = test.run_linux(image, flags, &["/call.wasm", call])?;
        let output = output.expect(0)?;
        ensure!(
            output.stdout.trim() == answer,
            "{flags:?} {call}: {output:?}"
        );
    }
    Ok(())
}

fn a_linux_program_has_the_home_of_its_user(test: &Test<'_>) -> Result<()> {
    let home = |user: &str, flags: &[&str]| {
        let image = format!("trireme.test/native:{user}");
        test.run_linux(&image, flags, &["/bin/sh", "-c", "echo $HOME"])?
            .expect(0)
    };
    for (user, flags, own) in [
        ("sailor", &[][..], "/work\n"),
        ("sailor", &["--env", "HOME=/mnt"], "/mnt\n"),
        ("sailor", &["--env", "HOME="], "/work\n"),
    ] {
        let output = home(user, flags)?;
        ensure!(output.stdout == own, "{user}, {flags:?}: {output:?}");
    }
    Ok(())
}

/// It is made by a process that becomes it, and has to be confined before anything of the image
/// runs in it.
fn no_library_of_the_image_is_loaded_for_a_linux_program(test: &Test<'_>) -> Result<()> {
    let image = "trireme.test/hostile:latest";
    for flags in [
        &[][..],
        &["--allow-new-privs"],
        &["--seccomp"],
        &["--seccomp", "--allow-new-privs"],
        &["--seccomp", "--allow-new-privs", "--env", "HOME="],
    ] {
        let output = test.run_linux(image, flags, &["/bin/ls", "/"])?.expect(0)?;
        let is_loaded = output.stdout.contains("library-was-loaded");
        ensure!(
            !is_loaded && output.stderr.is_empty(),
            "{flags:?}: {output:?}"
        );
    }
    // Whoever looks for a name by the C library there loads it.
    let look = ["/bin/busybox", "wget", "http://name.test/"];
    let output = test.run_linux(image, &[], &look)?;
    ensure!(output.stderr.contains("library was loaded"), "{output:?}");
    Ok(())
}

/// By a profile under which it cannot give up its capabilities.
fn a_linux_program_that_cannot_be_confined_does_not_start(test: &Test<'_>) -> Result<()> {
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["capset"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;
    let file = format!("/run/{}.json", test.id);
    test.exec(&["sh", "-ec", &format!("echo '{profile}' > {file}")])?
        .expect(0)?;
    let flags = ["--allow-new-privs", "--seccomp", "--seccomp-profile", &file];
    let image = "trireme.test/native:latest";
    let output = test.run_linux(image, &flags, &["/bin/busybox", "echo", "started"]);
    test.exec(&["rm", &file])?.expect(0)?;
    let output = output?;
    ensure!(!output.stdout.contains("started"), "{output:?}");
    ensure!(output.stderr.contains("cap"), "{output:?}");
    Ok(())
}

fn no_link_on_a_mount_is_followed_where_that_is_asked_for(test: &Test<'_>) -> Result<()> {
    let folder = format!("/run/{}", test.id);
    let make = format!("mkdir {folder}; echo ahoy > {folder}/there; ln -s there {folder}/link");
    test.exec(&["sh", "-ec", &make])?.expect(0)?;
    let read = |word: &str| -> Result<[String; 2]> {
        let mount = format!("type=bind,src={folder},dst=/mnt/one,options={word}:ro");
        let flags = ["--mount", &mount];
        let guest = probe(test, &flags, &["read:/mnt/one/link"])?.concat();
        let image = "trireme.test/native:latest";
        let linux = test.run_linux(image, &flags, &["/bin/cat", "/mnt/one/link"])?;
        Ok([guest, linux.stdout + &linux.stderr])
    };
    let (followed, refused) = (read("bind")?, read("bind:nosymfollow")?);
    test.exec(&["rm", "-r", &folder])?.expect(0)?;
    ensure!(
        followed.iter().all(|said| said.contains("ahoy")),
        "{followed:?}"
    );
    let [guest, linux] = &refused;
    ensure!(guest.ends_with("ELOOP"), "{refused:?}");
    ensure!(
        linux.contains("Too many levels of symbolic links"),
        "{refused:?}"
    );
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
