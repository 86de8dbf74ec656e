//! Trireme under real containerds: every case on every host, with a server per pod or with one
//! per node, in turns, and where a Linux program must behave the same, also with runc and the same guest
//! built for Linux. The last says that it is the case that is right. What depends on the engine is
//! tried on every engine, on some of the hosts. What depends on cgroups is then tried on machines
//! with systemd, one with cgroup v2 and one with v1.
//!
//! `cargo test --release -p trireme-tests --test e2e -- bookworm::per_node` runs a part.

mod cases;
mod command;
mod hosts;
mod mode;
mod test;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cases::{Case, Needs, soak, walk};
use hosts::Hosts;
use libtest_mimic::{Arguments, Conclusion, Trial};
use mode::{Mode, Server};
use trireme_tests::engines::Engine;
use trireme_tests::engines::differences::{DIFFERENCES, WALK};

/// What the checks of files that the walk leaves begin with.
const LEFT: &str = "walk: left ";

fn main() {
    differences_are_of_checks();
    hosts::MARK.take_down_on_signals();
    let mut arguments = Arguments::from_args();
    let hosts = Arc::new(Hosts::new(at_a_time()));
    // Enough that there are trials of every host among those that wait.
    arguments
        .test_threads
        .get_or_insert(THREADS_OF_A_HOST * hosts.count());
    let failures = Failures::default();
    let (machines, usual): (Vec<_>, Vec<_>) =
        (0..hosts.count()).partition(|index| hosts.is_emulated(*index));
    // An emulated machine takes all processors there are.
    let alone = machines.chunks(1);
    let runs = std::iter::once(&usual[..]).chain(alone).map(|indices| {
        let conclusion = libtest_mimic::run(&arguments, trials(&hosts, &failures, indices));
        hosts.take_down();
        conclusion
    });
    let conclusions: Vec<_> = runs.collect();
    // What failed among the first stands far above by now.
    for failure in lock(&failures).iter() {
        eprintln!("e2e: failed: {failure}\n");
    }
    conclusions.iter().for_each(Conclusion::exit_if_failed);
}

/// How many trials a host has in hand, of which it runs one, with luck: threads take trials in their
/// order. `--test-threads` gives another number of them all, of which [`at_a_time`] run.
const THREADS_OF_A_HOST: usize = 4;

/// How many cases run at a time, each with a host to itself: more than this machine has
/// processors, since there is always one that waits for a clock.
fn at_a_time() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get() + 1)
}

/// The trials of some hosts, those of each spread over the whole run: hosts with few, which take long,
/// would else have threads wait for them at first, and those with many be alone in the end.
fn trials(hosts: &Arc<Hosts>, failures: &Failures, indices: &[usize]) -> Vec<Trial> {
    let of_host = |index| {
        let kind = hosts.kind(index);
        let modes = Mode::on(kind, index).into_iter();
        modes
            .enumerate()
            .flat_map(|(turn, mode)| cases_in(mode, turn == 0).map(move |case| (mode, case)))
            .filter(move |(mode, case)| {
                !hosts.is_emulated(index) || is_on_machine(kind, *mode, case)
            })
            .filter(move |(_, case)| hosts.has(index, case.needs))
    };
    let mut spread = Vec::new();
    for &index in indices {
        let all: Vec<_> = of_host(index).collect();
        let count = all.len() as f64;
        let placed = all.into_iter().enumerate();
        spread.extend(placed.map(|(turn, (mode, case))| {
            let place = (turn as f64 + 0.5) / count;
            (place, trial(hosts, failures, index, mode, case))
        }));
    }
    spread.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    spread.into_iter().map(|(_, trial)| trial).collect()
}

/// A line of a check that is not there could never fail.
fn differences_are_of_checks() {
    let cases: Vec<_> = cases::all().filter(|case| case.each_engine).collect();
    let steps: Vec<_> = walk::steps().map(|step| format!("{WALK}{step}")).collect();
    let lists = [FOR_LINUX_TOO, FOR_ENGINES_TOO, ON_CGROUP1, ON_CGROUP2];
    for name in lists.into_iter().flatten() {
        let is_known = cases::all().any(|case| case.name == *name);
        assert!(is_known, "there is no case `{name}`");
    }
    for line in DIFFERENCES {
        for (check, _) in line.checks {
            // What an engine leaves behind besides has no step.
            let is_known = cases.iter().any(|case| case.name == *check)
                || steps.iter().any(|step| step == check)
                || check.starts_with(LEFT);
            assert!(is_known, "there is no check `{check}`: correct {line:?}");
        }
    }
}

/// What of Trireme's own cases holds for Linux programs that it runs.
const FOR_LINUX_TOO: &[&str] = &[
    "a_death_after_clone",
    "a_death_after_exit",
    "a_death_after_mount",
    "a_death_after_state",
    "a_death_before_unlink",
    "a_killed_init_is_reported",
    "a_killed_server_takes_its_guests_along_and_no_more",
    "containerd_comes_back_to_all_its_tasks",
    "fifty_in_parallel_end_with_their_own_codes",
    "many_in_a_row_end_with_their_own_codes",
    "two_containers_of_a_pod_share_a_server",
];

/// What any engine behaves like wasmtime in, beside what Linux programs do; only in `make soak`.
const FOR_ENGINES_TOO: &[&str] = &[
    "a_death_before_ready",
    "a_guest_that_idles_lives_on",
    "after_a_killed_compiler_the_next_one_compiles",
    "random_kills_leave_nothing",
    "sigkill_before_start_leaves_nothing",
    "sigterm_before_start_ends_the_task",
    "ten_at_a_time_run",
    "two_namespaces_may_use_one_id",
];

/// Whether a case is tried on an emulated machine. What guests of one server have shown, those of
/// the other show in brief, and so does runc, which is tried on the other hosts too; and of Docker
/// Linux programs show what only this machine has. With cgroup v1, as the other hosts have it, it is
/// systemd that is new. In `make soak` all show all.
fn is_on_machine(kind: &str, mode: Mode, case: &Case) -> bool {
    const BRIEFLY: &[&str] = &[
        "a_memory_limit_ends_the_guest",
        "docker_limits_reach_the_cgroup",
        "output_is_the_guests_own",
    ];
    // What others here show without Docker.
    const LONG: &[&str] = &[
        "docker_ends_a_guest_beyond_its_memory",
        "docker_exit_codes_are_the_guests_own",
        "docker_stats_count_memory",
    ];
    if kind == "cgroup1" {
        let is_new = mode != Mode::Runc && case.needs == Needs::Machine;
        return ON_CGROUP1.contains(&case.name) && (is_new || soak());
    }
    let is_brief = mode == Mode::Runc || mode.is_wasm() && mode.server() == Server::PerNode;
    let is_dockers = matches!(mode, Mode::Linux(_)) && case.needs == Needs::Docker;
    match soak() {
        false if is_brief => BRIEFLY.contains(&case.name),
        false if is_dockers || LONG.contains(&case.name) => false,
        _ => case.needs == Needs::Machine || ON_CGROUP2.contains(&case.name),
    }
}

/// What depends on who makes a container's cgroups, and what shows that others are as they were.
const ON_CGROUP1: &[&str] = &[
    "a_linux_program_is_heard_and_its_code_told",
    "a_linux_program_opens_devices_that_are_allowed_alone",
    "a_memory_limit_ends_the_guest",
    "a_name_of_systemds_is_a_scope",
    "limits_of_containers_in_pods_hold_and_their_use_is_counted",
];

/// What depends on cgroups, and enough beside it to tell a broken host from broken cgroups.
const ON_CGROUP2: &[&str] = &[
    "a_killed_task_is_stopped_and_can_be_deleted",
    "a_linux_program_has_the_devices_of_every_container_alone",
    "a_linux_program_has_the_kernels_file_systems",
    "a_linux_program_is_heard_and_its_code_told",
    "a_memory_limit_ends_the_guest",
    "a_paused_task_stands_still_until_resumed",
    "an_executed_program_that_dies_of_memory_is_told_of_at_once",
    "docker_ends_a_guest_beyond_its_memory",
    "docker_exit_codes_are_the_guests_own",
    "docker_limits_reach_the_cgroup",
    "docker_stats_count_memory",
    "docker_updates_limits",
    "metrics_tell_memory_and_processor_time",
    "output_is_the_guests_own",
    "exit_code_is_the_guests_own",
    "who_died_of_memory_is_counted_after_the_end",
];

fn cases_in(mode: Mode, is_first: bool) -> impl Iterator<Item = Case> {
    cases::all().filter(move |case| match mode {
        Mode::Wasm(Engine::Wasmtime, _) => true,
        Mode::Wasm(..) => {
            let is_long =
                || FOR_LINUX_TOO.contains(&case.name) || FOR_ENGINES_TOO.contains(&case.name);
            case.each_engine || (case.each_host && is_first) || (soak() && is_long())
        }
        Mode::Linux(_) => case.native || FOR_LINUX_TOO.contains(&case.name),
        Mode::Runc => case.native,
    })
}

fn trial(hosts: &Arc<Hosts>, failures: &Failures, index: usize, mode: Mode, case: Case) -> Trial {
    let name = format!("{}::{}::{}", hosts.kind(index), mode.name(), case.name);
    let (hosts, failures, whose) = (Arc::clone(hosts), Arc::clone(failures), name.clone());
    let run = move || {
        test::run(&hosts, index, mode, &case).map_err(|error| {
            lock(&failures).push(format!("{whose}: {error}"));
            error.into()
        })
    };
    Trial::test(name, run)
}

/// The trials that have failed, each with what it said.
type Failures = Arc<Mutex<Vec<String>>>;

fn lock(failures: &Failures) -> MutexGuard<'_, Vec<String>> {
    failures.lock().unwrap_or_else(PoisonError::into_inner)
}
