//! `ctr task exec` of a Linux program: beside a guest as beside another Linux program.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::cases;
use super::exec::{clear_streams, execute, pids, sleeping, start, twenty_at_once, words};
use crate::command::{LIMIT, Output};
use crate::test::Test;

cases! {
    as_with_runc: [
        a_linux_program_is_heard_and_its_code_told,
        a_linux_program_reads_until_the_end_of_its_input,
        a_linux_program_can_have_a_terminal_of_the_container,
        a_linux_program_has_the_kernels_file_systems,
        a_linux_program_has_the_devices_of_every_container_alone,
        a_linux_program_is_as_its_process_says,
        a_linux_program_has_a_root_that_is_read_only_where_asked,
        a_linux_program_that_is_not_there_is_not_executed,
        a_linux_program_that_goes_on_ends_with_the_container,
        twenty_linux_programs_at_once,
    ],
    wasm: [
        // With runc of Debian's next release, that is the program's own end.
        a_linux_program_that_the_kernel_refuses_is_not_executed,
        // And that lets programs of such a mount run.
        a_linux_program_of_a_mount_runs_where_that_lets_it,
        a_linux_program_is_in_the_containers_namespaces_but_has_its_own_mounts,
        a_guest_sees_nothing_of_the_tree_of_linux_programs,
        a_guest_and_linux_programs_share_their_files,
        a_linux_program_cannot_reach_what_runs_the_guest,
        a_folder_that_the_guest_puts_in_the_way_uncovers_nothing,
        what_a_linux_program_leaves_behind_is_reaped,
        a_killed_server_takes_linux_programs_along,
    ],
}

/// Runs a script by the container's own shell.
fn shell(test: &Test<'_>, flags: &[&str], script: &str) -> Result<Output> {
    execute(test, flags, &["/bin/sh", "-c", script])
}

fn a_linux_program_is_heard_and_its_code_told(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let output = shell(test, &[], "echo out; echo err >&2; exit 7")?.expect(7)?;
    ensure!(output.stdout == "out\n", "{output:?}");
    ensure!(output.stderr.ends_with("err\n"), "{output:?}");
    // By its name, and by that of a link to it.
    for name in ["/bin/busybox", "busybox"] {
        let output = execute(test, &[], &[name, "echo", "ahoy"])?.expect(0)?;
        ensure!(output.stdout == "ahoy\n", "{output:?}");
    }
    ensure!(pids(test)?.len() == 1, "{:?}", pids(test)?);
    test.remove()
}

fn a_linux_program_reads_until_the_end_of_its_input(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let mut running = start(test, "one", &["/bin/cat"])?;
    running.write("one line\n")?;
    running.wait_for("one line\n")?;
    running.close_stdin();
    running.finish(LIMIT)?.expect(0)?;
    test.remove()
}

fn a_linux_program_can_have_a_terminal_of_the_container(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let seen = its_terminal_fits(test, &words(test, "one", &["--tty"], &[]))?;
    ensure!(seen.contains("/dev/pts/0\n"), "{seen}");
    test.remove()
}

/// That the terminal of a shell has the size of the client's, also when that changes. Returns what it
/// printed.
pub(super) fn its_terminal_fits(test: &Test<'_>, client: &[&str]) -> Result<String> {
    // Each size comes a moment later.
    let script = r#"busybox tty; for size in "31 97" "41 103"; do
        until [ "$(busybox stty size)" = "$size" ]; do busybox usleep 10000; done
        echo it fits $size
    done"#;
    let typescript = format!("/run/typescript-of-{}", test.id);
    // The typescript's first line has the command, whose patterns must not find themselves. A change
    // is made again and again: `ctr` does not hear one that comes before it listens.
    let line = format!(
        "stty rows 31 cols 97; touch {typescript}
        while [ -e {typescript} ] && ! grep -q 'fits 4[1]' {typescript}; do
            ! grep -q 'fits 3[1]' {typescript} || {{ stty cols 102; stty rows 41 cols 103; }}
            sleep 0.05
        done < /dev/tty &
        {} /bin/sh -c '{script}'",
        client.join(" ")
    );
    let seen = test.exec(&["script", "-qefc", &line, &typescript]);
    test.exec(&["rm", "-f", &typescript])?;
    // `script` may type a null byte when its own input has ended, and the terminal shows that.
    let seen = seen?.expect(0)?.stdout.replace('\r', "").replace("^@", "");
    ensure!(seen.contains("it fits 31 97\nit fits 41 103\n"), "{seen}");
    Ok(seen)
}

/// Mounts of the kernel's that the specification of `ctr` asks for: where, what, and words that
/// must be among their options.
const KERNELS: [(&str, &str, &[&str]); 6] = [
    ("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"]),
    ("/dev", "tmpfs", &["rw", "nosuid"]),
    ("/dev/pts", "devpts", &["rw", "nosuid", "noexec"]),
    ("/dev/shm", "tmpfs", &["rw", "nosuid", "nodev", "noexec"]),
    (
        "/dev/mqueue",
        "mqueue",
        &["rw", "nosuid", "nodev", "noexec"],
    ),
    ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
];

fn a_linux_program_has_the_kernels_file_systems(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let mounts = execute(test, &[], &["/bin/cat", "/proc/self/mounts"])?.expect(0)?;
    for (place, fstype, options) in KERNELS {
        let line = mounts
            .stdout
            .lines()
            .rfind(|line| line.split(' ').nth(1) == Some(place));
        let line = line.with_context(|| format!("{place}: {mounts:?}"))?;
        let fields: Vec<_> = line.split(' ').collect();
        let has: Vec<_> = fields[3].split(',').collect();
        ensure!(fields[2] == fstype, "{line}");
        ensure!(options.iter().all(|option| has.contains(option)), "{line}");
    }
    // The root lets programs run, and setuid bits count.
    let root = mounts.stdout.lines().find(|line| line.contains(" / "));
    let root = root.with_context(|| format!("{mounts:?}"))?;
    for word in ["noexec", "nosuid", "nodev"] {
        ensure!(!root.contains(word), "{root}");
    }
    // No kernel has all of them.
    let script = "for file in kcore keys latency_stats timer_list sched_debug; do \
                  [ -e /proc/$file ] && echo masked >&2 && cat /proc/$file; done; \
                  ls /sys/firmware; \
                  for file in /proc/sys/kernel/hostname /proc/irq/default_smp_affinity \
                  /sys/kernel/uevent_seqnum; do echo 1 > $file || echo refused; done";
    let output = shell(test, &[], script)?.expect(0)?;
    ensure!(output.stdout == "refused\n".repeat(3), "{output:?}");
    ensure!(output.stderr.contains("masked\n"), "{output:?}");
    let refused = output.stderr.matches("Read-only file system").count();
    ensure!(refused == 3, "{output:?}");
    test.remove()
}

fn a_linux_program_has_the_devices_of_every_container_alone(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let script = "cd /dev; ls -d fd full null ptmx pts random shm stderr stdin stdout tty urandom \
                  zero | busybox wc -l; busybox head -c 4 zero | busybox wc -c; echo > null; \
                  echo > full; busybox readlink fd; \
                  busybox mknod kmsg c 1 11; busybox mknod disk b 259 0; busybox mknod vda b 254 0; \
                  busybox head -c1 kmsg; busybox head -c1 disk; busybox head -c1 vda; ls /dev/sda";
    let output = shell(test, &[], script)?;
    ensure!(output.stdout == "13\n4\n/proc/self/fd\n", "{output:?}");
    let denied = output.stderr.matches("Operation not permitted").count();
    ensure!(denied == 3, "{output:?}");
    ensure!(
        output.stderr.contains("No space left on device"),
        "{output:?}"
    );
    test.remove()
}

fn a_linux_program_is_as_its_process_says(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let status = |flags: &[&str]| -> Result<String> {
        let output = execute(test, flags, &["/bin/cat", "/proc/self/status"])?.expect(0)?;
        Ok(output.stdout)
    };
    let holds = |status: &str, lines: &[&str]| -> Result<()> {
        for line in lines {
            ensure!(status.contains(&format!("{line}\n")), "{line}: {status}");
        }
        Ok(())
    };
    let caps = "00000000a80425fb";
    let [bounding, effective] = ["CapBnd", "CapEff"].map(|set| format!("{set}:\t{caps}"));
    let root = ["Uid:\t0\t0\t0\t0", "NoNewPrivs:\t1", &bounding, &effective];
    holds(&status(&[])?, &root)?;
    let user = [
        "Uid:\t1000\t1000\t1000\t1000",
        "Gid:\t1000\t1000\t1000\t1000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        &bounding,
    ];
    holds(&status(&["--user", "1000:1000"])?, &user)?;
    let output = shell(
        test,
        &["--cwd", "/work"],
        "cat where.txt; echo $HOME; ulimit -n",
    )?;
    let output = output.expect(0)?;
    ensure!(
        output.stdout == "in the work folder\n/\n1024\n",
        "{output:?}"
    );
    test.remove()
}

fn a_linux_program_has_a_root_that_is_read_only_where_asked(test: &Test<'_>) -> Result<()> {
    test.run_detached(&["--read-only"], &["/sleep.wasm", "60"])?;
    let output = shell(test, &[], "ls -d /proc/self /dev/null; echo > /work/new")?.expect(1)?;
    ensure!(output.stdout.lines().count() == 2, "{output:?}");
    ensure!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
    test.remove()
}

fn a_linux_program_that_is_not_there_is_not_executed(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    for (name, reasons) in [
        ("/bin/nothing", &["no such file or directory"][..]),
        ("nothing", &["executable file not found in $PATH"]),
        // Later versions of runc have the second.
        ("/work", &["permission denied", "is a directory"]),
    ] {
        let output = execute(test, &[], &[name])?.expect(1)?;
        let is_told = reasons.iter().any(|reason| output.stderr.contains(reason));
        ensure!(is_told, "{output:?}");
    }
    execute(test, &[], &["/bin/true"])?.expect(0)?;
    test.remove()
}

fn a_linux_program_that_the_kernel_refuses_is_not_executed(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let make = "cd /work && echo '#!/nowhere/sh' > script && printf '\\177ELFxxxx' > program && \
                /bin/busybox chmod 755 script program && echo made";
    shell(test, &[], make)?.expect(0)?;
    for (name, reason) in [
        ("/work/script", "no such file or directory"),
        ("/work/program", "exec format error"),
    ] {
        let output = execute(test, &[], &[name])?.expect(1)?;
        ensure!(output.stderr.contains(reason), "{output:?}");
    }
    ensure!(pids(test)?.len() == 1, "{:?}", pids(test)?);
    test.remove()
}

fn a_linux_program_of_a_mount_runs_where_that_lets_it(test: &Test<'_>) -> Result<()> {
    let folder = format!("/run/{}", test.id);
    let make = format!(
        "mkdir -p {folder}/free {folder}/bound && mount -t tmpfs -o noexec,nosuid tmpfs {folder}/bound \
         && cp /bin/busybox {folder}/free && cp /bin/busybox {folder}/bound"
    );
    test.exec(&["sh", "-ec", &make])?.expect(0)?;
    let [free, bound] = [("free", "/mnt/one"), ("bound", "/mnt/two")]
        .map(|(name, place)| format!("type=bind,src={folder}/{name},dst={place},options=rbind:rw"));
    test.run_detached(
        &["--mount", &free, "--mount", &bound],
        &["/sleep.wasm", "60"],
    )?;
    let output = execute(test, &[], &["/mnt/one/busybox", "echo", "ahoy"])?.expect(0)?;
    ensure!(output.stdout == "ahoy\n", "{output:?}");
    // The host says that nothing there is executed.
    let output = shell(
        test,
        &[],
        "/mnt/two/busybox echo ahoy; busybox grep /mnt /proc/mounts",
    )?;
    ensure!(output.stderr.contains("Permission denied"), "{output:?}");
    ensure!(
        output.stdout.contains(" /mnt/two tmpfs rw,nosuid,noexec,"),
        "{output:?}"
    );
    test.remove()?;
    let clear = format!("umount {folder}/bound; rm -r {folder}");
    test.exec(&["sh", "-ec", &clear])?.expect(0)?;
    Ok(())
}

fn a_linux_program_that_goes_on_ends_with_the_container(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let detached = words(test, "one", &["--detach"], &["/bin/sleep", "1000"]);
    test.exec(&detached)?.expect(0)?;
    sleepers(test, 1)?;
    // Its parent goes at once.
    let script = "busybox setsid sleep 1000 < /dev/null > /dev/null 2>&1 &";
    test.exec(&words(test, "two", &[], &["/bin/sh", "-c", script]))?
        .expect(0)?;
    let list = sleepers(test, 2)?;
    test.ctr(&["task", "kill", "--signal", "SIGKILL", &test.id])?;
    test.wait_for_status("STOPPED")?;
    for pid in list {
        let gone = test.exec(&["sh", "-c", "! kill -0 $0", &pid])?;
        ensure!(gone.code == 0, "{pid}: {gone:?}");
    }
    test.exec(&["ctr", "task", "delete", "--exec-id", "one", &test.id])?;
    clear_streams(test)?;
    test.remove()
}

fn twenty_linux_programs_at_once(test: &Test<'_>) -> Result<()> {
    twenty_at_once(test, &["/bin/busybox", "echo"], "")
}

/// The pids of so many programs that sleep. What makes a program is there as well, for a moment.
fn sleepers(test: &Test<'_>, count: usize) -> Result<Vec<String>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut found = Vec::new();
        for pid in pids(test)? {
            let name = test.exec(&["cat", &format!("/proc/{pid}/comm")])?;
            if name.stdout == "sleep\n" {
                found.push(pid);
            }
        }
        if found.len() == count {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{found:?} are not {count}");
    }
}

/// What a link of a process in `/proc` leads to.
fn link(test: &Test<'_>, pid: &str, name: &str) -> Result<String> {
    let output = test.exec(&["readlink", &format!("/proc/{pid}/{name}")])?;
    Ok(output.expect(0)?.stdout)
}

fn a_linux_program_is_in_the_containers_namespaces_but_has_its_own_mounts(
    test: &Test<'_>,
) -> Result<()> {
    sleeping(test)?;
    let (init, _) = test.task()?;
    let program = start(test, "one", &["/bin/sleep", "1000"])?;
    let another = start(test, "two", &["/bin/sleep", "1000"])?;
    let others = sleepers(test, 2)?;
    let own = link(test, &init, "ns/mnt")?;
    let host = link(test, "self", "ns/mnt")?;
    let theirs = link(test, &others[0], "ns/mnt")?;
    ensure!(theirs != own && theirs != host, "{theirs} {own} {host}");
    ensure!(
        theirs == link(test, &others[1], "ns/mnt")?,
        "each has its own"
    );
    for kind in ["pid", "net", "ipc", "uts", "cgroup"] {
        let name = format!("ns/{kind}");
        ensure!(
            link(test, &init, &name)? == link(test, &others[0], &name)?,
            "{kind}"
        );
    }
    let cgroup = |pid: &str| test.exec(&["cat", &format!("/proc/{pid}/cgroup")]);
    let (ours, theirs) = (cgroup(&init)?, cgroup(&others[0])?);
    ensure!(ours.stdout == theirs.stdout, "{ours:?} {theirs:?}");
    for pid in &others {
        test.exec(&["kill", "-KILL", pid])?.expect(0)?;
    }
    program.finish(LIMIT)?.expect(137)?;
    another.finish(LIMIT)?.expect(137)?;
    test.remove()
}

fn a_guest_sees_nothing_of_the_tree_of_linux_programs(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let (init, _) = test.task()?;
    let mounts = || {
        test.exec(&["cat", &format!("/proc/{init}/mountinfo")])?
            .expect(0)
    };
    let before = mounts()?;
    let program = start(test, "one", &["/bin/sleep", "1000"])?;
    let list = sleepers(test, 1)?;
    let after = mounts()?;
    ensure!(before.stdout == after.stdout, "{before:?}\n{after:?}");
    let guest = [
        "/files.wasm",
        "list:/proc",
        "list:/sys",
        "read:/dev/null",
        "list:/dev/pts",
    ];
    let output = test.exec(&words(test, "two", &[], &guest))?.expect(0)?;
    for line in output.stdout.lines() {
        let result = line.rsplit_once(": ").map_or("", |(_, result)| result);
        ensure!(result == "ok" || result == "ENOENT", "{line}: {output:?}");
    }
    for pid in &list {
        test.exec(&["kill", "-KILL", pid])?.expect(0)?;
    }
    program.finish(LIMIT)?.expect(137)?;
    test.remove()
}

fn a_guest_and_linux_programs_share_their_files(test: &Test<'_>) -> Result<()> {
    let memory = "type=tmpfs,src=tmpfs,dst=/mnt/one,options=size=64k";
    test.run_detached(&["--mount", memory], &["/sleep.wasm", "60"])?;
    for folder in ["/work", "/mnt/one", "/dev/shm"] {
        let script = format!("echo ahoy > {folder}/there");
        shell(test, &[], &script)?.expect(0)?;
        let read = format!("read:{folder}/there");
        let output = execute(test, &[], &["/files.wasm", &read])?.expect(0)?;
        ensure!(output.stdout.contains("ok ahoy"), "{output:?}");
        let write = format!("write:{folder}/back");
        execute(test, &[], &["/files.wasm", &write])?.expect(0)?;
        execute(test, &[], &["/bin/ls", &format!("{folder}/back")])?.expect(0)?;
    }
    test.remove()
}

/// With the capability to trace, too: what a program then opens is on a read-only mount.
fn a_linux_program_cannot_reach_what_runs_the_guest(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let script = "for file in exe mem maps environ root/bin/sh fd/0; do \
                  busybox head -c1 /proc/1/$file > /dev/null && echo /proc/1/$file; done; \
                  busybox readlink /proc/1/exe; true";
    let output = shell(test, &[], script)?.expect(0)?;
    ensure!(output.stdout.is_empty(), "{output:?}");
    let denied = output.stderr.matches("Permission denied").count();
    ensure!(denied == 6, "{output:?}");
    test.remove()?;
    test.ctr(&["container", "delete", &test.id]).ok();
    let tracing = [
        "--cap-add",
        "CAP_SYS_PTRACE",
        "--cap-add",
        "CAP_DAC_OVERRIDE",
    ];
    test.run_detached(&tracing, &["/sleep.wasm", "60"])?;
    // Every file of the host that it has open, and its program.
    let script = "exec 9< /proc/1/exe || exit 3; for file in /proc/self/fd/9 /proc/1/fd/*; do \
                  case $(busybox readlink $file) in /dev/*|socket:*|pipe:*|anon_inode:*) continue;; esac; \
                  [ -d $file ] && continue; \
                  busybox true >> $file && echo $(busybox readlink $file); done; true";
    let output = shell(test, &[], script)?.expect(0)?;
    ensure!(output.stdout.is_empty(), "{output:?}");
    ensure!(
        output.stderr.contains("Read-only file system"),
        "{output:?}"
    );
    test.remove()
}

/// A guest may rename what is a mount point for others alone.
fn a_folder_that_the_guest_puts_in_the_way_uncovers_nothing(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    // Before the first Linux program.
    let guest = ["/files.wasm", "link:work:/proc"];
    execute(test, &[], &guest)?.expect(0)?;
    let script = "for file in kcore keys latency_stats timer_list sched_debug; do \
                  cat /work/$file; done 2> /dev/null; cat /etc/passwd > /dev/null; \
                  echo x > /work/sys/kernel/hostname || echo refused";
    let output = shell(test, &[], script)?.expect(0)?;
    ensure!(output.stdout == "refused\n", "{output:?}");
    ensure!(
        output
            .stderr
            .contains("/work/sys/kernel/hostname: Read-only"),
        "{output:?}"
    );
    test.remove()
}

fn what_a_linux_program_leaves_behind_is_reaped(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let (init, _) = test.task()?;
    let script =
        "for _ in 1 2 3; do busybox setsid busybox usleep 1000 < /dev/null > /dev/null 2>&1 & done";
    shell(test, &[], script)?.expect(0)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let children = test.exec(&["cat", &format!("/proc/{init}/task/{init}/children")])?;
        if children.expect(0)?.stdout.trim().is_empty() && pids(test)?.len() == 1 {
            return test.remove();
        }
        ensure!(Instant::now() < deadline, "init still has children");
    }
}

fn a_killed_server_takes_linux_programs_along(test: &Test<'_>) -> Result<()> {
    sleeping(test)?;
    let program = start(test, "one", &["/bin/sleep", "1000"])?;
    let list = sleepers(test, 1)?;
    test.exec(&["sh", "-c", "kill -KILL $(pgrep -f '[t]rireme-shim server')"])?
        .expect(0)?;
    let output = program.finish(LIMIT)?;
    ensure!(output.code != 0, "{output:?}");
    let deadline = Instant::now() + LIMIT;
    for pid in list {
        while test.exec(&["kill", "-0", &pid])?.code == 0 {
            ensure!(Instant::now() < deadline, "{pid} goes on");
        }
    }
    clear_streams(test)?;
    test.exec(&["ctr", "container", "delete", &test.id])?;
    test.next_container_runs()
}
