//! What is executed in a container, until it is there: what others in the container see of it, and what
//! is left of one that dies on its way.

use anyhow::{Context, Result, ensure};

use super::exec::{execute, pids, start};
use super::{cases, crashes};
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    as_with_runc: [a_child_beside_what_is_executed_keeps_no_container_from_its_end],
    wasm: [
        what_is_executed_has_nothing_of_the_host_when_it_is_seen,
        a_death_after_birth,
    ],
}

/// How often each sort is executed.
const ROUNDS: usize = 10;
/// Looks at each process that it sees, until there is a file.
const WATCHER: &str = r#"
while read -r name value; do [ "$name" = CapPrm: ] && own=$value; done < /proc/self/status
echo "watching with $own"
others=0
until [ -e /stop ]; do
    for process in /proc/[0-9]*; do
        case $process in /proc/1|/proc/$$) ;; *) others=1 ;; esac
        [ -e $process/root/run/containerd ] && echo "$process has the host's files"
        while read -r name value; do
            case $name:$value in
                CapPrm::0000000000000000|CapPrm::$own) ;;
                CapPrm::*) echo "$process has $value" ;;
            esac
        done 2> /dev/null < $process/status
    done
done
echo "seen: $others"
"#;

fn what_is_executed_has_nothing_of_the_host_when_it_is_seen(test: &Test<'_>) -> Result<()> {
    let capabilities = ["--cap-add", "CAP_SYS_PTRACE"];
    test.run_detached(&capabilities, &["/sleep.wasm", "60"])?;
    let mut watcher = start(test, "watcher", &["/bin/sh", "-c", WATCHER])?;
    watcher.wait_for("watching with ")?;
    for _ in 0..ROUNDS {
        execute(test, &[], &["/args.wasm"])?.expect(0)?;
        execute(test, &[], &["/bin/busybox", "usleep", "10000"])?.expect(0)?;
    }
    execute(test, &[], &["/bin/busybox", "touch", "/stop"])?.expect(0)?;
    let output = watcher.finish(LIMIT)?.expect(0)?;
    let (_, seen) = output.stdout.split_once('\n').context("nothing was seen")?;
    ensure!(seen == "seen: 1\n", "{output:?}");
    test.remove()
}

/// Dies between its birth and the moment when the server is told.
fn a_death_after_birth(test: &Test<'_>) -> Result<()> {
    let runtime = crashes::runtime(test)?;
    let words = ["ctr", "run", "--runtime", &runtime, "-d", "--null-io"];
    let guest = [test.mode.image(), &test.id, "/sleep.wasm", "60"];
    test.exec(&[&words[..], &guest].concat())?.expect(0)?;
    // A guest, what makes the tree of Linux programs, and one of those.
    for program in [&["/args.wasm"][..], &["/bin/true"], &["/bin/true"]] {
        crashes::arm(test, "after_birth")?;
        let output = execute(test, &[], program)?;
        ensure!(output.code != 0, "{output:?}");
        ensure!(
            output.stderr.contains("what it is a copy of has ended"),
            "{output:?}"
        );
        execute(test, &[], program)?.expect(0)?;
        ensure!(pids(test)?.len() == 1, "{:?}", pids(test)?);
    }
    test.remove()
}

/// By `clone(2)`: a child of the server, which nobody has asked for.
fn a_child_beside_what_is_executed_keeps_no_container_from_its_end(test: &Test<'_>) -> Result<()> {
    const CLONE: u32 = 56;
    const CLONE_PARENT_AND_SIGCHLD: u32 = 0x8000 | 17;
    let script = format!(
        "my $pid = syscall({CLONE}, {CLONE_PARENT_AND_SIGCHLD}, 0, 0, 0, 0); \
         exit($pid < 0 ? 1 : 0);"
    );
    let mounts: Vec<_> = ["/usr/lib", "/lib", "/lib64", "/usr/bin/perl"]
        .map(|path| format!("type=bind,src={path},dst={path},options=rbind:ro"))
        .into();
    let flags: Vec<_> = mounts.iter().flat_map(|mount| ["--mount", mount]).collect();
    test.run_detached(&flags, &["/sleep.wasm", "60"])?;
    for _ in 0..3 {
        execute(test, &[], &["/usr/bin/perl", "-e", &script])?.expect(0)?;
    }
    // Its first process ends when they are gone.
    test.remove()
}
