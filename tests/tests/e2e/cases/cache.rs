//! Precompiled code: made once, found again, and never trusted when damaged.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::cases;
use crate::command::LIMIT;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [
        after_a_killed_compiler_the_next_one_compiles,
        a_cache_that_fills_its_disk_makes_room_on_it,
        code_is_mapped_from_a_disk_on_which_nothing_may_be_run,
    ],
    on_each_engine: {
        as_with_runc: [],
        wasm: [
            the_second_start_maps_cached_code,
            a_flipped_bit_is_noticed_and_the_code_made_again,
            twenty_first_starts_compile_once,
            a_full_disk_runs_uncached_with_a_warning,
        ],
    },
}

pub(super) const CACHE: &str = "/var/lib/trireme/cache";

/// The files of the cache that processes of this container have mapped, each
/// with its inode.
/// It is mapped by way of a mount that has no place, so that its path is its name.
const MAPPED: &str = "for pid in $(pgrep -f '[t]rireme-executor init'); do \
                      awk 'length($6) == 65 && $6 ~ /^\\/[0-9a-f]+$/ { print $5, $6 }' \
                      /proc/$pid/maps; done | sort -u";

pub(super) fn clear(test: &Test<'_>) -> Result<()> {
    let script = format!("rm -rf {CACHE}/* /run/trireme/identities /run/trireme/verified");
    test.exec(&["sh", "-c", &script])?.expect(0)?;
    Ok(())
}

/// The files of the cache: name, inode and size, a line each.
pub(super) fn entries(test: &Test<'_>) -> Result<String> {
    let script = format!("cd {CACHE} && stat -c '%n %i %s' code/* | sort");
    Ok(test.exec(&["sh", "-c", &script])?.expect(0)?.stdout)
}

fn the_second_start_maps_cached_code(test: &Test<'_>) -> Result<()> {
    clear(test)?;
    test.next_container_runs()?;
    let made = entries(test)?;
    ensure!(made.lines().count() == 1, "{made}");
    test.next_container_runs()?;
    ensure!(entries(test)? == made, "the code was made again: {made}");
    let mut running = test.start_guest(&[], &["/sleep.wasm", "60"])?;
    running.wait_for("sleeping")?;
    let mapped = test.exec(&["sh", "-c", MAPPED])?.expect(0)?;
    ensure!(
        mapped.stdout.lines().count() == 1,
        "one file is mapped: {mapped:?}"
    );
    test.ctr(&["task", "kill", "--signal", "SIGKILL", &test.id])?;
    running.finish(LIMIT)?.expect(137)?;
    Ok(())
}

fn a_flipped_bit_is_noticed_and_the_code_made_again(test: &Test<'_>) -> Result<()> {
    clear(test)?;
    test.next_container_runs()?;
    let sum = format!("cat {CACHE}/code/* | sha256sum");
    let before = test.exec(&["sh", "-c", &sum])?.expect(0)?.stdout;
    // In the middle of the file, where the machine code is.
    let flip = format!(
        "cd {CACHE}/code && f=$(ls) && chmod 600 $f && at=$(($(stat -c %s $f) / 2)) && \
         byte=$(od -An -tu1 -j $at -N1 $f) && \
         printf \"\\\\$(printf %o $((byte ^ 16)))\" | dd of=$f bs=1 seek=$at conv=notrunc 2>/dev/null"
    );
    test.exec(&["sh", "-ec", &flip])?.expect(0)?;
    let flipped = test.exec(&["sh", "-c", &sum])?.expect(0)?.stdout;
    ensure!(flipped != before, "the test flipped no bit");
    test.next_container_runs()?;
    let after = test.exec(&["sh", "-c", &sum])?.expect(0)?.stdout;
    ensure!(after == before, "the damaged code is still there");
    Ok(())
}

/// Every start finds an empty cache; whoever comes second waits for the first
/// and takes its code. Per pod, that is twenty servers.
fn twenty_first_starts_compile_once(test: &Test<'_>) -> Result<()> {
    clear(test)?;
    let script = format!(
        "for n in $(seq 1 20); do\n\
         ctr run -d --null-io --runtime {} {} {}-$n /sleep.wasm 60 || echo failed &\n\
         done; wait",
        test.mode.runtime(),
        test.mode.image(),
        test.id
    );
    let output = test
        .start(&["sh", "-c", &script])?
        .finish(LIMIT * 2)?
        .expect(0)?;
    ensure!(output.stdout.is_empty(), "{output:?}");
    let mapped = test.exec(&["sh", "-c", MAPPED])?.expect(0)?;
    let inits = test.exec(&["pgrep", "-fc", "[t]rireme-executor init"])?;
    ensure!(inits.stdout.trim() == "20", "{inits:?}");
    // Code that was compiled a second time would have another inode.
    ensure!(mapped.stdout.lines().count() == 1, "{mapped:?}");
    Ok(())
}

/// Has `act` with an empty cache on a disk of its own, mounted with these options.
fn on_own_disk(test: &Test<'_>, options: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    clear(test)?;
    let mount =
        format!("mkdir -p -m 700 {CACHE} && mount -t tmpfs -o {options},mode=700 tmpfs {CACHE}");
    test.exec(&["sh", "-ec", &mount])?.expect(0)?;
    let result = act();
    test.exec(&["umount", CACHE])?.expect(0)?;
    result
}

/// What of the code on a disk makes room is what was used longest ago.
fn a_cache_that_fills_its_disk_makes_room_on_it(test: &Test<'_>) -> Result<()> {
    let run = |program: &str| test.run(&[], &[program])?.expect(0).map(drop);
    clear(test)?;
    run("/hello.wasm")?;
    run("/args.wasm")?;
    let made = entries(test)?;
    let sizes = made.lines().filter_map(|line| line.rsplit(' ').next());
    let sizes: Result<Vec<u64>, _> = sizes.map(str::parse).collect();
    let sizes = sizes?;
    // One with its entry, and not both.
    let room = format!("size={}", sizes.iter().sum::<u64>() * 3 / 4);
    ensure!(
        sizes.len() == 2 && sizes.iter().all(|size| *size > 16_000),
        "{made}"
    );
    on_own_disk(test, &room, || {
        run("/hello.wasm")?;
        let first = entries(test)?;
        run("/args.wasm")?;
        let second = entries(test)?;
        ensure!(
            first.lines().count() == 1 && second.lines().count() == 1,
            "{first}{second}"
        );
        ensure!(first != second, "the second was not kept: {second}");
        run("/args.wasm")?;
        ensure!(entries(test)? == second, "it was made again: {second}");
        Ok(())
    })
}

fn code_is_mapped_from_a_disk_on_which_nothing_may_be_run(test: &Test<'_>) -> Result<()> {
    on_own_disk(test, "noexec", || {
        test.next_container_runs()?;
        let made = entries(test)?;
        ensure!(made.lines().count() == 1, "{made}");
        test.next_container_runs()?;
        ensure!(entries(test)? == made, "it was made again: {made}");
        Ok(())
    })
}

fn a_full_disk_runs_uncached_with_a_warning(test: &Test<'_>) -> Result<()> {
    // Room for two pages, which is one file that is not empty, or what wasmi makes of this guest.
    on_own_disk(test, "size=8k", || test.next_container_runs())?;
    let log = test.log();
    ensure!(
        log.contains("running uncached") && log.contains("No space left"),
        "{log}"
    );
    test.next_container_runs()
}

fn after_a_killed_compiler_the_next_one_compiles(test: &Test<'_>) -> Result<()> {
    let words = ["ctr", "run", "--rm", "--runtime", test.mode.runtime()];
    let guest = ["trireme.test/python:latest", &test.id, "/python.wasm", "-V"];
    let kill = "kill -KILL $(pgrep -f '[t]rireme-executor compile')";
    let deadline = Instant::now() + LIMIT;
    // An engine that has little to do may be through before.
    loop {
        clear(test)?;
        let mut running = test.start(&[&words[..], &guest[..]].concat())?;
        running.close_stdin();
        while !running.is_over() && test.exec(&["sh", "-c", kill])?.code != 0 {}
        let output = running.finish(LIMIT)?;
        if output.code != 0 {
            let told = "the compiler ended with status 137";
            ensure!(output.stderr.contains(told), "{output:?}");
            break;
        }
        ensure!(Instant::now() < deadline, "no compiler was ever killed");
    }
    let locks = format!("flock -n {CACHE}/lock/* true 2>&1");
    let free = test.exec(&["sh", "-c", &locks])?;
    ensure!(!free.stdout.contains("failed"), "{free:?}");
    let again = test
        .start(&[&words[..], &guest[..]].concat())?
        .finish(LIMIT)?
        .expect(0)?;
    ensure!(again.stdout.contains("Python 3"), "{again:?}");
    Ok(())
}
