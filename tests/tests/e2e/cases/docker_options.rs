//! `docker run`: flags that change what a container has around its program.

use anyhow::{Result, ensure};

use super::cases;
use super::docker::{detached, remove};
use crate::test::Test;

cases! {
    needs: Docker,
    as_with_runc: [
        docker_options_reach_the_container,
        docker_mounts_what_it_is_told,
        docker_reads_environment_from_a_file,
    ],
    wasm: [
        docker_privileges_give_a_guest_nothing,
    ],
}

/// What a shell of the host sees of the container's first process: `$pid` is it.
fn seen(test: &Test<'_>, script: &str) -> Result<String> {
    let script = format!("pid={}\n{script}", test.inspect("{{.State.Pid}}")?);
    let output = test.exec(&["sh", "-ec", &script])?.expect(0)?;
    Ok(output.stdout)
}

fn docker_options_reach_the_container(test: &Test<'_>) -> Result<()> {
    let flags = [
        "--hostname=mast",
        "--add-host=harbour:10.9.8.7",
        "--dns=10.9.8.6",
        "--dns-search=sea.example",
        "--ulimit=nofile=100:200",
        "--oom-score-adj=500",
    ];
    detached(test, &flags, &["/sleep.wasm", "60"])?;
    let script = "cat /proc/$pid/root/etc/hostname /proc/$pid/oom_score_adj\n\
        grep -o 10.9.8.7.*harbour /proc/$pid/root/etc/hosts | tr '\\t' ' '\n\
        grep -E '^(nameserver|search)' /proc/$pid/root/etc/resolv.conf\n\
        awk '/open files/ { print $4, $5 }' /proc/$pid/limits";
    let seen = seen(test, script)?;
    let expected = "mast\n500\n10.9.8.7 harbour\n\
        nameserver 10.9.8.6\nsearch sea.example\n100 200\n";
    ensure!(seen == expected, "{seen}");
    remove(test)
}

fn docker_mounts_what_it_is_told(test: &Test<'_>) -> Result<()> {
    let volume = format!("hold-of-{}", test.id);
    let volume_flag = format!("type=volume,src={volume},dst=/mnt/one");
    let flags = [
        "--rm",
        "--read-only",
        "--mount",
        &volume_flag,
        "--mount",
        "type=bind,src=/etc/hostname,dst=/mnt/name,readonly",
        "--tmpfs",
        "/mnt/two:size=1m",
        "--mount",
        "type=tmpfs,dst=/work",
    ];
    let guest = [
        "/files.wasm",
        "write:/mnt/one/cargo",
        "write:/mnt/two/cargo",
        "write:/work/cargo",
        "list:/work",
        "write:/mnt/name",
        "write:/cargo",
    ];
    let output = test.docker_run(&flags, &guest);
    let kept = format!("cat $(docker volume inspect -f '{{{{.Mountpoint}}}}' {volume})/cargo");
    let kept = test.exec(&["sh", "-ec", &kept]);
    test.docker(&["volume", "rm", &volume])?;
    let (output, kept) = (output?.expect(0)?, kept?.expect(0)?);
    let lines: Vec<_> = output.stdout.lines().collect();
    ensure!(
        lines.len() == 6
            && lines[..4]
                == [
                    "write /mnt/one/cargo: ok",
                    "write /mnt/two/cargo: ok",
                    "write /work/cargo: ok",
                    "list /work: ok cargo",
                ]
            && lines[4].starts_with("write /mnt/name: E")
            && lines[5].starts_with("write /cargo: E"),
        "{output:?}"
    );
    ensure!(kept.stdout == "written by the guest\n", "{kept:?}");
    Ok(())
}

fn docker_reads_environment_from_a_file(test: &Test<'_>) -> Result<()> {
    let file = format!("/run/environment-of-{}", test.id);
    let write = format!("printf 'SHIP=trireme\\nCREW=two hundred\\n' > {file}");
    test.exec(&["sh", "-ec", &write])?.expect(0)?;
    let output = test.docker_run(&["--rm", "--env-file", &file], &["/env.wasm"]);
    test.exec(&["rm", &file])?.expect(0)?;
    let output = output?.expect(0)?;
    for line in ["SHIP=trireme", "CREW=two hundred"] {
        ensure!(output.stdout.lines().any(|seen| seen == line), "{output:?}");
    }
    Ok(())
}

fn docker_privileges_give_a_guest_nothing(test: &Test<'_>) -> Result<()> {
    for flags in [
        &["--privileged"][..],
        &[
            "--cap-add=ALL",
            "--security-opt=seccomp=unconfined",
            "--device=/dev/null",
        ],
    ] {
        detached(test, flags, &["/sleep.wasm", "60"])?;
        let script = "grep -E '^(Cap|NoNewPrivs)' /proc/$pid/status | cut -f 2 | sort -u\n\
            find /proc/$pid/root/proc /proc/$pid/root/sys -mindepth 1 2>/dev/null || true\n\
            find /proc/$pid/root/dev -type c -o -type b 2>/dev/null || true\n\
            grep -vc nodev,noexec /proc/$pid/mountinfo || true";
        let seen = seen(test, script)?;
        ensure!(seen == "0000000000000000\n1\n0\n", "{flags:?}: {seen}");
        remove(test)?;
    }
    Ok(())
}
