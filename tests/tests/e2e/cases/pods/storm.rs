//! Pods made and removed, ten at a time, while containers, servers and containerd are killed at
//! moments that nobody chose: who was not concerned has not noticed, nobody is stuck, nothing is
//! left.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use trireme_tests::host::containerd;

use super::super::kills::{Moments, next_servers_sweep, seed};
use super::super::{cases, soak};
use super::faults::{handlers, of, servers};
use super::fleet::{AT_A_TIME, All, Fleet, Made, Plan, Seen, Wanted, made};
use crate::command::{Output, Running};
use crate::mode::Server;
use crate::test::Test;

cases! {
    needs: Cri,
    as_with_runc: [],
    wasm: [],
    on_each_host: [pods_under_random_kills_end_as_they_should],
}

/// The longest pause between two kills, in milliseconds.
const WINDOW: u64 = 1200;
/// How many kills there are while ten pods are made, and how many while they are removed.
const KILLS: (usize, usize) = (5, 2);
/// How many pods are made when nobody is killed any more.
const CALM: usize = 2;
/// How long making or removing ten pods may take on a busy machine.
const LONG: Duration = Duration::from_secs(180);

fn pods_under_random_kills_end_as_they_should(test: &Test<'_>) -> Result<()> {
    let seed = seed(test)?;
    let mut moments = Moments(seed);
    let waves = if soak() { 200 / AT_A_TIME } else { 1 };
    for server in servers(test) {
        for wave in 0..waves {
            let what = || format!("wave {wave} of {} of seed {seed}", server.name());
            let act = |fleet: &Fleet<'_>| Wave::of(fleet, server, AT_A_TIME, &mut moments).run();
            Fleet::with(test, act).with_context(what)?;
        }
        let act = |fleet: &Fleet<'_>| Wave::of(fleet, server, CALM, &mut moments).calm();
        Fleet::with(test, act).with_context(|| format!("after {} of {seed}", server.name()))?;
    }
    next_servers_sweep(test)
}

/// Ten pods and what is done to them.
struct Wave<'a> {
    fleet: &'a Fleet<'a>,
    server: Server,
    moments: &'a mut Moments,
    plans: Vec<Ship>,
    /// What has been done, for a message.
    story: Vec<String>,
    /// The ids, of pods and containers, whose server was killed.
    lost: BTreeSet<String>,
    /// The ids of which a process was killed.
    hit: BTreeSet<String>,
    /// How many processes were killed that belonged to nobody yet.
    unknown: usize,
    /// The ids, of pods and containers, of the servers that had made those.
    suspects: BTreeSet<String>,
    /// What containerd had said of ends when it was killed.
    ends: Vec<String>,
    /// How many pods containerd made when it was killed.
    cut_off: usize,
    /// The network namespaces that there were then.
    networks: Vec<String>,
}

/// A pod, and the codes of those of its containers that end by themselves and when asked.
struct Ship {
    plan: Plan,
    own: i64,
    sidecar: i64,
    /// Whether something happened, while it was made, that may have kept it from being made.
    excused: bool,
}

/// What can be killed.
#[derive(Clone, Copy, PartialEq)]
enum Victim {
    Process,
    Server,
}

impl<'a> Wave<'a> {
    fn of(fleet: &'a Fleet<'a>, server: Server, pods: usize, moments: &'a mut Moments) -> Self {
        let handlers = handlers(fleet.test, server);
        let plans = (0..pods)
            .map(|n| {
                let handler = &handlers[moments.next(handlers.len() as u64) as usize];
                ship(fleet.test, n, handler, moments)
            })
            .collect();
        Self {
            fleet,
            server,
            moments,
            plans,
            story: Vec::new(),
            lost: BTreeSet::new(),
            hit: BTreeSet::new(),
            unknown: 0,
            suspects: BTreeSet::new(),
            ends: Vec::new(),
            cut_off: 0,
            networks: Vec::new(),
        }
    }

    fn run(mut self) -> Result<()> {
        self.sail().with_context(|| self.story.join("; "))
    }

    /// The same without kills: whatever was killed before, all is as it was to be.
    fn calm(self) -> Result<()> {
        let making = self.start_making()?;
        let made = self.all_made(making)?;
        self.as_it_should(&made)?;
        self.fleet
            .start_removal()?
            .finish(LONG)?
            .expect(0)
            .map(drop)
    }

    fn sail(&mut self) -> Result<()> {
        let made = self.make()?;
        if self.moments.next(2) == 0 {
            self.kill_containerd("")?;
            self.fleet.start_containerd()?;
        }
        self.as_it_should(&made)?;
        let removing = self.fleet.start_removal()?;
        for _ in 0..KILLS.1 {
            self.kill(&mut [])?;
        }
        if self.moments.next(2) == 0 || !soak() {
            self.kill_containerd(", while it removes")?;
            self.fleet.start_containerd()?;
        }
        removing.finish(LONG).context("a pod is stuck")?.expect(0)?;
        self.forget_networks()
    }

    fn start_making(&self) -> Result<Vec<Running>> {
        let plans = self.plans.iter();
        plans.map(|ship| self.fleet.make(&ship.plan)).collect()
    }

    fn all_made(&self, making: Vec<Running>) -> Result<Vec<(Made, Output)>> {
        let ends = self.plans.iter().zip(making).map(|(ship, making)| {
            let output = making.finish(LONG)?;
            Ok((made(&ship.plan, &output), output))
        });
        ends.collect()
    }

    /// Makes all pods, with kills meanwhile and thereafter.
    fn make(&mut self) -> Result<Vec<(Made, Output)>> {
        let mut making = self.start_making()?;
        let cut_off = self.moments.next(2 * KILLS.0 as u64) as usize;
        for number in 0..KILLS.0 {
            self.kill(&mut making)?;
            if soak() && number == cut_off {
                self.cut_off(&mut making)?;
            }
        }
        self.all_made(making)
    }

    /// Kills containerd, whatever it is about to do.
    fn kill_containerd(&mut self, when: &str) -> Result<()> {
        self.story.push(format!("containerd{when}"));
        self.fleet.test.kill_containerd()?;
        self.ends.extend(said_of_ends(self.fleet.test));
        Ok(())
    }

    /// Kills it while it makes pods, of which none need come to anything then, and starts it again.
    fn cut_off(&mut self, making: &mut [Running]) -> Result<()> {
        for (ship, making) in self.plans.iter_mut().zip(making) {
            let is_made_now = !making.is_over();
            ship.excused |= is_made_now;
            self.cut_off += usize::from(is_made_now);
        }
        self.kill_containerd(", while it makes")?;
        let networks = self.shell("ls /run/netns 2>/dev/null; true", "")?;
        self.networks = networks.lines().map(str::to_owned).collect();
        self.fleet.start_containerd()
    }

    /// Removes the network namespaces that containerd has forgotten: those of pods that it was making
    /// and had not written down yet (`RunPodSandbox`), whatever was to run them.
    fn forget_networks(&self) -> Result<()> {
        let script = "cd /run/netns 2>/dev/null || exit 0
            for network in $0; do
                [ ! -e $network ] || { umount $network && rm $network && echo $network; }
            done";
        let forgotten = self.shell(script, &self.networks.join(" "))?;
        ensure!(
            forgotten.lines().count() <= self.cut_off,
            "{} pods were being made, but: {forgotten}",
            self.cut_off
        );
        Ok(())
    }

    /// Kills somebody after a while. What is being made then may fail, where it is concerned.
    fn kill(&mut self, making: &mut [Running]) -> Result<()> {
        let pause = self.moments.next(WINDOW);
        let victim = match self.moments.next(10) {
            0..6 => Victim::Process,
            _ => Victim::Server,
        };
        let number = self.moments.next(1000);
        std::thread::sleep(Duration::from_millis(pause));
        // Their last words may be on their way.
        let made_now: Vec<_> = making.iter_mut().map(|making| !making.is_over()).collect();
        let excuses_all = match victim {
            Victim::Process => {
                self.kill_process(number)?;
                false
            }
            Victim::Server => self.kill_server(number)? && self.server == Server::PerNode,
        };
        for (ship, is_made_now) in self.plans.iter_mut().zip(made_now) {
            ship.excused |= excuses_all && is_made_now;
        }
        Ok(())
    }

    /// Kills one of the processes of containers, whatever it is about to do.
    fn kill_process(&mut self, number: u64) -> Result<()> {
        let script = r#"
            pids=($(for server in $(pgrep -f '[t]rireme-shim server'); do pgrep -P $server; done))
            [ ${#pids[@]} -gt 0 ] || exit 0
            pid=${pids[$(($0 % ${#pids[@]}))]}
            name=$(tr '\0' ' ' < /proc/$pid/cmdline)
            cgroup=$(sed -n 's/.*:memory:.*\///p; s/^0::.*\///p' /proc/$pid/cgroup | head -n 1)
            alive=$(readlink /proc/$(sed -n 's/^PPid:\s*//p' /proc/$pid/status)/fd/5)
            served=$(ls ${alive%/*}/k8s.io ${alive%/*}/.starting 2>/dev/null)
            kill -KILL $pid && echo "${cgroup:-none} $name" && echo "$served"
            exit 0"#;
        let killed = self.shell(script, &number.to_string())?;
        let (killed, served) = killed.split_once('\n').unwrap_or_default();
        if let Some((id, name)) = killed.trim().split_once(' ') {
            self.story.push(format!("process {name} of {id}"));
            match id.strip_suffix("--compile").unwrap_or(id) {
                id if id.len() == 64 => drop(self.hit.insert(id.to_owned())),
                // The helper that makes a Linux container is in no container's cgroup.
                _ => {
                    self.unknown += 1;
                    self.suspects.extend(ids(served));
                }
            }
        }
        Ok(())
    }

    /// Kills one of the servers, and returns whether there was one.
    fn kill_server(&mut self, number: u64) -> Result<bool> {
        let script = r#"
            pids=($(pgrep -f '[t]rireme-shim server'))
            [ ${#pids[@]} -gt 0 ] || exit 0
            pid=${pids[$(($0 % ${#pids[@]}))]}
            alive=$(readlink /proc/$pid/fd/5) && kill -STOP $pid || exit 0
            ls ${alive%/*}/k8s.io ${alive%/*}/.starting 2>/dev/null
            kill -KILL $pid
            echo killed"#;
        let served = self.shell(script, &number.to_string())?;
        let ids: Vec<_> = ids(&served).collect();
        let has_killed = served.contains("killed");
        if has_killed {
            self.story.push(format!("server of {ids:?}"));
            self.unknown += usize::from(ids.is_empty());
            self.lost.extend(ids);
        }
        Ok(has_killed)
    }

    fn shell(&self, script: &str, argument: &str) -> Result<String> {
        let words = ["bash", "-uc", script, argument];
        Ok(self.fleet.test.exec(&words)?.stdout)
    }

    /// That those that were not concerned are what they were to be, and nobody has been forgotten.
    fn as_it_should(&self, made: &[(Made, Output)]) -> Result<()> {
        self.made_as_it_should(made)?;
        let all = self.look_until_ended(made)?;
        let mut stop = Vec::new();
        for (ship, (made, _)) in self.plans.iter().zip(made) {
            for name in ["clock", "sidecar"] {
                let Ok(id) = made.of(name) else { continue };
                let seen = of(&all, id)?;
                // One that does not run has been found right, or been concerned.
                if seen.runs() && !self.is_concerned(made, id) && !ship.excused {
                    stop.push((made, name, id, ship));
                }
            }
        }
        let ids: Vec<_> = stop.iter().map(|(_, _, id, _)| *id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        // One that is asked to end before it listens does not know how.
        let sidecars = stop.iter().filter(|(_, name, _, _)| *name == "sidecar");
        for (made, name, _, _) in sidecars {
            let log = self.fleet.log(made, name);
            let script = "until grep -q up $0; do /bin/sleep 0.1; done";
            self.fleet
                .test
                .exec(&["bash", "-c", script, &log])?
                .expect(0)?;
        }
        self.fleet.stop_all(&ids)?;
        let all = self.fleet.look()?;
        for (made, name, id, ship) in stop {
            let seen = of(&all, id)?;
            let code = if name == "clock" { 143 } else { ship.sidecar };
            ensure!(
                seen.has_ended() && seen.code == code,
                "{name} of {} was stopped: {seen:?}, not {code}",
                made.name
            );
        }
        Ok(())
    }

    /// That no pod could not be made for no reason.
    fn made_as_it_should(&self, all: &[(Made, Output)]) -> Result<()> {
        let mut unexplained = Vec::new();
        for (ship, (made, output)) in self.plans.iter().zip(all) {
            let is_hit = made
                .ids()
                .chain([made.id.as_str()])
                .any(|id| self.is_concerned(made, id));
            if output.code != 0 && !ship.excused && !is_hit {
                unexplained.push(output);
            }
        }
        // Those of whom there was nothing yet when they were hit.
        let known: BTreeSet<_> = all.iter().flat_map(|(made, _)| made.ids()).collect();
        let nobodys = self.hit.iter().chain(&self.lost);
        let nobodys = nobodys.filter(|id| !known.contains(id.as_str())).count();
        ensure!(
            unexplained.len() <= self.unknown + nobodys,
            "{} pods of whom nothing was killed: {unexplained:?}",
            unexplained.len()
        );
        Ok(())
    }

    fn is_concerned(&self, made: &Made, id: &str) -> bool {
        self.hit.contains(id) || self.lost.contains(&made.id) || self.lost.contains(id)
    }

    /// Whether CRI may have lost how this one ended, whatever runs it: of a task that ends it has the
    /// shim forget everything before it writes that down (`handleContainerExit` in containerd's
    /// `internal/cri/server/events.go`).
    fn may_be_lost(&self, id: &str, seen: &Seen) -> bool {
        let is_said = || self.ends.iter().any(|line| line.contains(id));
        seen.code == 255 && seen.reason == "Unknown" && is_said()
    }

    /// Waits until every guest that was to end by itself has, and whoever runs really does.
    fn look_until_ended(&self, all: &[(Made, Output)]) -> Result<All> {
        self.fleet.look_until(|now| self.have_ended(all, now))
    }

    fn have_ended(&self, all: &[(Made, Output)], now: &All) -> Result<()> {
        let mut suspected = Vec::new();
        for (ship, (made, output)) in self.plans.iter().zip(all) {
            for name in ["guest", "clock", "sidecar"] {
                let Ok(id) = made.of(name) else { continue };
                let Some(seen) = now.get(id) else {
                    ensure!(ship.excused, "{name} of {} is gone", made.name);
                    continue;
                };
                let is_concerned =
                    ship.excused || self.is_concerned(made, id) || self.may_be_lost(id, seen);
                let own = (name == "guest").then_some(ship.own);
                // Nothing can be started in a pod whose first process was killed.
                let starts = output.code == 0 || !is_concerned && !self.hit.contains(&made.id);
                let is_suspect = || [&made.id, id].iter().any(|&id| self.suspects.contains(id));
                if starts && output.code != 0 && has_never_started(seen) && is_suspect() {
                    suspected.push(id);
                    continue;
                }
                // CRI had not written down all that it was told, and says so.
                if ship.excused && self.cut_off > 0 && seen.state == "CONTAINER_UNKNOWN" {
                    continue;
                }
                is_right(seen, own, is_concerned, starts)
                    .and_then(|()| self.has_ended_with_its_server(id, seen))
                    .with_context(|| format!("{name} of {}", made.name))?;
            }
        }
        ensure!(
            suspected.len() <= self.unknown,
            "{suspected:?} were never started, and {} processes were killed that had to",
            self.unknown
        );
        self.really_run(now)
    }

    /// That who was of a killed server does not go on without it.
    fn has_ended_with_its_server(&self, id: &str, seen: &Seen) -> Result<()> {
        ensure!(
            !self.lost.contains(id) || !seen.runs(),
            "its server was killed: {seen:?}"
        );
        Ok(())
    }

    /// That CRI takes nobody for alive who is not.
    fn really_run(&self, now: &All) -> Result<()> {
        let pids: Vec<_> = now.values().filter(|seen| seen.runs()).collect();
        let list: Vec<_> = pids.iter().map(|seen| seen.pid.to_string()).collect();
        let script = "for pid in $0; do [ -e /proc/$pid/exe ] || echo $pid; done";
        let dead = self.shell(script, &list.join(" "))?;
        ensure!(dead.is_empty(), "dead, but told to run: {dead} of {pids:?}");
        Ok(())
    }
}

/// The ids among the names of files.
fn ids(names: &str) -> impl Iterator<Item = String> {
    let ids = names.lines().filter(|line| line.len() == 64);
    ids.map(str::to_owned)
}

fn said_of_ends(test: &Test<'_>) -> Vec<String> {
    // Of the last moments: what it was told before, it has written down.
    let log = containerd::DAEMON.tail(&test.host.instance, 0, 1000);
    let lines = log.lines().filter(|line| line.contains("xit event"));
    lines.map(str::to_owned).collect()
}

fn is_right(seen: &Seen, own: Option<i64>, is_concerned: bool, starts: bool) -> Result<()> {
    let is_lost = is_concerned && [137, 255].contains(&seen.code);
    let is_right = match own {
        _ if has_never_started(seen) => !starts,
        Some(own) => seen.has_ended() && (seen.code == own || is_lost),
        None => seen.runs() || seen.has_ended() && is_lost,
    };
    ensure!(is_right, "{seen:?}, its own is {own:?}");
    Ok(())
}

fn has_never_started(seen: &Seen) -> bool {
    const NEVER_STARTED: i64 = 128;
    seen.state == "CONTAINER_CREATED" || seen.code == NEVER_STARTED
}

fn ship(test: &Test<'_>, number: usize, handler: &str, moments: &mut Moments) -> Ship {
    let own = 1 + moments.next(100) as i64;
    let sidecar = 1 + moments.next(100) as i64;
    let seconds = (1 + moments.next(3)).to_string();
    let code = own.to_string();
    let mut containers = vec![
        Wanted::guest(test, "guest", &["/sleep.wasm", &seconds, &code]),
        Wanted::sidecar(sidecar as i32),
        Wanted::guest(test, "clock", &["/tick.wasm"]),
    ];
    containers.rotate_left(moments.next(3) as usize);
    // Some have no Linux program, and some no other guest.
    if moments.next(2) == 0 {
        containers.retain(|wanted| wanted.name != "clock");
    }
    Ship {
        plan: Plan {
            name: format!("ship-{number}"),
            handler: handler.to_owned(),
            containers,
        },
        own,
        sidecar,
        excused: false,
    }
}
