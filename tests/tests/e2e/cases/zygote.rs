//! Where guests of a server come from: copies of its zygote, or processes of their own.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::cases;
use crate::command::LIMIT;
use crate::mode::Server;
use crate::test::Test;

cases! {
    as_with_runc: [],
    wasm: [],
    on_each_engine: {
        as_with_runc: [],
        wasm: [
            a_killed_zygote_is_started_anew,
            a_network_made_ahead_is_for_the_next_container_alone,
            guests_of_a_node_are_copies_of_a_zygote,
        ],
    },
}

/// The pids of all zygotes of the host.
fn zygotes(test: &Test<'_>) -> Result<Vec<String>> {
    let list = test.exec(&["pgrep", "--exact", "trireme-zygote"])?;
    Ok(list.stdout.lines().map(str::to_owned).collect())
}

/// The one zygote of the host, or none for a server of one pod.
fn zygote(test: &Test<'_>) -> Result<Option<String>> {
    let all = zygotes(test)?;
    let wanted = usize::from(test.mode.server() == Server::PerNode);
    ensure!(all.len() == wanted, "zygotes: {all:?}");
    Ok(all.into_iter().next())
}

/// Where a process's stack begins, which the kernel chooses anew for each program, and which a
/// copy shares (`startstack` of proc_pid_stat(5)).
fn stack_of(test: &Test<'_>, pid: &str) -> Result<String> {
    let stat = test
        .exec(&["cat", &format!("/proc/{pid}/stat")])?
        .expect(0)?;
    let fields = stat
        .stdout
        .rsplit_once(')')
        .context("no name")?
        .1
        .to_owned();
    let start = fields.split_whitespace().nth(25).context("no startstack")?;
    Ok(start.to_owned())
}

fn guests_of_a_node_are_copies_of_a_zygote(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let (pid, _) = test.task()?;
    let stack = stack_of(test, &pid)?;
    let arguments = format!("tr '\\0' ' ' < /proc/{pid}/cmdline");
    let arguments = test.exec(&["sh", "-c", &arguments])?.stdout;
    let seen = match zygote(test)? {
        Some(zygote) => (stack_of(test, &zygote)? == stack, is_bare(test, &zygote)?),
        None => (true, true),
    };
    test.remove()?;
    ensure!(seen == (true, true), "(a copy, bare): {seen:?}");
    let words: Vec<_> = arguments.split_whitespace().collect();
    ensure!(words == ["trireme-executor", "init"], "{words:?}");
    Ok(())
}

/// Whether a zygote has one thread, and nothing open but its streams and its link.
fn is_bare(test: &Test<'_>, pid: &str) -> Result<bool> {
    let script = format!("ls /proc/{pid}/task; ls /proc/{pid}/fd");
    let seen = test.exec(&["sh", "-c", &script])?.expect(0)?.stdout;
    let seen: Vec<_> = seen.lines().collect();
    Ok(seen == [pid, "0", "1", "2", "3"])
}

fn a_killed_zygote_is_started_anew(test: &Test<'_>) -> Result<()> {
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let Some(first) = zygote(test)? else {
        return test.remove();
    };
    test.exec(&["kill", "-KILL", &first])?.expect(0)?;
    let next = Test {
        host: test.host,
        mode: test.mode,
        id: format!("{}-next", test.id),
    };
    next.next_container_runs()?;
    let deadline = Instant::now() + LIMIT;
    while zygotes(test)?.iter().all(|pid| *pid == first) {
        ensure!(Instant::now() < deadline, "there is no other zygote");
    }
    next.next_container_runs()?;
    let (_, status) = test.task()?;
    test.remove()?;
    ensure!(status == "RUNNING", "the first guest is {status}");
    Ok(())
}

/// Network namespaces that a guest's server holds, by their names.
fn in_stock(test: &Test<'_>, guest: &str) -> Result<Vec<String>> {
    let script = format!("readlink /proc/$(cut -d ' ' -f 4 /proc/{guest}/stat)/fd/* || true");
    let open = test.exec(&["sh", "-c", &script])?.expect(0)?.stdout;
    let networks = open.lines().filter(|name| name.starts_with("net:"));
    Ok(networks.map(str::to_owned).collect())
}

fn network_of(test: &Test<'_>, pid: &str) -> Result<String> {
    let link = test.exec(&["readlink", &format!("/proc/{pid}/ns/net")])?;
    Ok(link.expect(0)?.stdout.trim().to_owned())
}

/// Waits until a guest's server holds a network namespace, or none.
fn stocked(test: &Test<'_>, guest: &str, wanted: bool) -> Result<Vec<String>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let stock = in_stock(test, guest)?;
        if stock.is_empty() != wanted {
            return Ok(stock);
        }
        ensure!(Instant::now() < deadline, "in stock: {stock:?}");
    }
}

fn a_network_made_ahead_is_for_the_next_container_alone(test: &Test<'_>) -> Result<()> {
    /// It is good for two seconds, which a busy machine may take to get here.
    const TRIES: usize = 10;
    test.run_detached(&[], &["/sleep.wasm", "60"])?;
    let (first, _) = test.task()?;
    if zygote(test)?.is_none() {
        let stock = in_stock(test, &first)?;
        test.remove()?;
        ensure!(stock.is_empty(), "a server of one pod holds {stock:?}");
        return Ok(());
    }
    let others = [network_of(test, "self")?, network_of(test, &first)?];
    let mut stock = stocked(test, &first, true)?;
    let mut seen = Vec::new();
    for turn in 0..TRIES {
        let next = Test {
            host: test.host,
            mode: test.mode,
            id: format!("{}-{turn}", test.id),
        };
        next.run_detached(&[], &["/sleep.wasm", "60"])?;
        let (pid, _) = next.task()?;
        let network = network_of(test, &pid)?;
        let addresses = format!("/proc/{pid}/net/fib_trie");
        let addresses = test.exec(&["cat", &addresses])?.expect(0)?.stdout;
        let after = stocked(test, &first, true)?;
        next.remove()?;
        ensure!(
            addresses.contains("127.0.0.1"),
            "the loopback interface is down"
        );
        ensure!(
            !others.contains(&network),
            "{network} is another's: {others:?}"
        );
        ensure!(!after.contains(&network), "{network} is still in stock");
        if stock.contains(&network) {
            stocked(test, &first, false)?;
            return test.remove();
        }
        seen.push((std::mem::replace(&mut stock, after), network));
    }
    test.remove()?;
    bail!("what was in stock was never used: {seen:?}")
}
