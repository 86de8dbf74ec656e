//! What a server has of cgroups and limits, and what it leaves to its containers.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use trireme_container::state;
use trireme_tests::protocol::client::Client;
use trireme_tests::protocol::methods::TASK_V2;

use crate::calls::{Case, Fixture, ID, LIMIT, refusal, trials_of};
use crate::server::ended;

/// One trial for each behaviour.
pub fn trials() -> Vec<Trial> {
    let cases: [(&str, Case); 5] = [
        (
            "the_next_server_removes_what_was_paused",
            the_next_server_removes_what_was_paused,
        ),
        (
            "cgroups_below_a_containers_own_are_its_own",
            cgroups_below_a_containers_own_are_its_own,
        ),
        (
            "a_server_may_open_more_files_than_its_guests",
            a_server_may_open_more_files_than_its_guests,
        ),
        (
            "a_filter_is_made_once_for_all_with_its_profile",
            a_filter_is_made_once_for_all_with_its_profile,
        ),
        (
            "a_filter_that_nobody_can_have_is_told",
            a_filter_that_nobody_can_have_is_told,
        ),
    ];
    trials_of("resources", cases)
}

/// On version 1, what is frozen does not even die of SIGKILL.
fn the_next_server_removes_what_was_paused() -> Result<()> {
    let mut fixture = Fixture::new("/sleep.wasm", |_| json!({}))?;
    fixture.create()?.expect()?;
    fixture.call("Start")?;
    fixture.call("Pause")?;
    fixture.server.kill()?;
    fixture.server.start_next()?;
    let mut client = Client::connect(&fixture.server.socket(), TASK_V2)?;
    // It answers when all is done.
    let message = refusal(client.call("Delete", &json!({ "id": ID }))?)?;
    ensure!(message.contains("not created"), "{message}");
    fixture.expect_gone()
}

fn cgroups_below_a_containers_own_are_its_own() -> Result<()> {
    let mut fixture = Fixture::new("/sleep.wasm", |_| json!({}))?;
    fixture.create()?.expect()?;
    fixture.call("Start")?;
    let mut sleeper = Command::new("sleep").arg("100").spawn()?;
    let pid = sleeper.id();
    for cgroup in fixture.server.cgroups(ID) {
        let below = cgroup.join("below/and-below");
        fs::create_dir_all(&below)?;
        // Nobody can join a new cpuset.
        if !below.join("cpuset.sched_load_balance").exists() {
            fs::write(below.join("cgroup.procs"), pid.to_string())?;
        }
    }
    let pids = fixture.call("Pids")?;
    let told = pids["processes"].as_array().into_iter().flatten();
    let is_told = told.into_iter().any(|process| process["pid"] == pid);
    let kill = json!({ "id": ID, "signal": 9, "all": true });
    let killed = fixture.client.call("Kill", &kill);
    let end = ended(&mut sleeper, LIMIT);
    sleeper.kill()?;
    sleeper.wait()?;
    ensure!(is_told, "{pid} is not among {pids}");
    killed?.expect()?;
    ensure!(end?.is_some(), "{pid} was not killed");
    fixture.call("Wait")?;
    fixture.call("Delete")?;
    fixture.expect_gone()
}

/// By what containerd is started with under systemd, few files can be open at once.
fn a_server_may_open_more_files_than_its_guests() -> Result<()> {
    let mut fixture = Fixture::new("/sleep.wasm", |_| json!({}))?;
    let created = fixture.create()?.expect()?;
    let guest = created["pid"].as_u64().context("a pid")?;
    let soft = |pid: u64| -> Result<String> {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let words = line.context("no such limit")?.split_whitespace();
        Ok(words.skip(3).take(2).collect::<Vec<_>>().join(" "))
    };
    let (server, guest) = (soft(fixture.server.pid())?, soft(guest)?);
    let (now, most) = server.split_once(' ').context("two limits")?;
    ensure!(now == most && now != "1024", "{server}");
    ensure!(guest == format!("1024 {most}"), "{guest}");
    Ok(())
}

/// A profile that no other test has: it is of this moment.
fn profile(action: &str) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos() as u64;
    let of_this = json!({ "index": 1, "value": now, "op": "SCMP_CMP_EQ" });
    let rule = json!({ "names": ["getpriority"], "action": action, "args": [of_this] });
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })
}

fn with_profile(profile: Value) -> Result<Fixture> {
    let mut fixture = Fixture::new("/sleep.wasm", |_| json!({}))?;
    let mut spec = fixture.spec()?;
    spec["linux"]["seccomp"] = profile;
    fixture.bundle = fixture.server.bundle(ID, spec)?;
    Ok(fixture)
}

/// By any server since boot.
fn a_filter_is_made_once_for_all_with_its_profile() -> Result<()> {
    let folder = Path::new(state::ROOT).join("filters");
    let known = || -> Result<BTreeMap<u64, PathBuf>> {
        let files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            files => files?,
        };
        let files = files.map(|file| file.map(|file| (file.ino(), file.path())));
        let mut files = files.collect::<io::Result<BTreeMap<_, _>>>()?;
        // Another server may be about to keep one.
        files.retain(|_, path| path.extension().is_none());
        Ok(files)
    };
    let before = known()?;
    let profile = profile("SCMP_ACT_ERRNO");
    let mut after = Vec::new();
    for _ in 0..2 {
        let mut fixture = with_profile(profile.clone())?;
        let created = fixture.create()?.expect()?;
        let pid = created["pid"].as_u64().context("a pid")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        ensure!(status.contains("Seccomp:\t2\n"), "{status}");
        fixture.call("Delete")?;
        fixture.expect_gone()?;
        after.push(known()?);
    }
    let made = after[0]
        .iter()
        .filter(|(file, _)| !before.contains_key(file));
    let made: Vec<_> = made.collect();
    ensure!(!made.is_empty(), "it was not kept: {after:?}");
    for (file, path) in made {
        // A file that is written anew is another.
        ensure!(after[1].contains_key(file), "it was made again: {after:?}");
        fs::remove_file(path)?;
    }
    Ok(())
}

fn a_filter_that_nobody_can_have_is_told() -> Result<()> {
    let mut fixture = with_profile(profile("SCMP_ACT_NOTIFY"))?;
    let message = refusal(fixture.create()?)?;
    ensure!(
        message.contains("seccomp: SCMP_ACT_NOTIFY is not"),
        "{message}"
    );
    fixture.expect_gone()
}
