//! What a WASI 0.1 guest is given and how it ends.

use std::io::{Read, Write};
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use super::{Case, cases};
use crate::Outcome;
use crate::testing::process::End;
use crate::testing::subject::Subject;

pub(super) const CASES: &[Case] = cases![
    hello_is_printed,
    exit_codes_come_through_as_they_are,
    arguments_arrive_in_order,
    environment_arrives_in_order,
    stdin_is_read_to_its_end,
    stdin_is_read_as_it_comes,
    stdout_and_stderr_are_apart,
    a_mebibyte_of_stdout_arrives_whole_before_the_exit,
    a_closed_stdout_is_an_error_of_the_guest,
    a_trap_ends_with_134_and_names_its_cause,
    a_trap_names_its_function,
    another_entry_function_is_called,
    random_bytes_differ_between_runs,
    clocks_tell_the_time_and_sleep_takes_its_time,
    the_process_has_one_thread_at_its_end,
    a_signal_ends_a_sleeping_guest,
    a_signal_ends_a_computing_guest,
];

const HELLO: &str = include_str!("../guests/hello.wat");
const EXIT: &str = include_str!("../guests/exit.wat");
const CAT: &str = include_str!("../guests/cat.wat");
const LARGE: &str = include_str!("../guests/large.wat");
const TRAP: &str = include_str!("../guests/trap.wat");
const CLOCK: &str = include_str!("../guests/clock.wat");

fn hello_is_printed(subject: &Subject) {
    let trial = subject.guest(HELLO);
    assert_eq!(trial.accepts(), End::Done);
    assert_eq!(trial.run().output(), "hello from the guest\n");
}

fn exit_codes_come_through_as_they_are(subject: &Subject) {
    for code in [0, 7, 125, 126, 134, 255] {
        let ran = subject.guest(EXIT).arg(&code.to_string()).run();
        assert_eq!(ran.end, End::Exit(code));
        assert_eq!(ran.status.code(), Some(i32::from(code)));
    }
}

fn arguments_arrive_in_order(subject: &Subject) {
    let trial = subject.guest(include_str!("../guests/args.wat"));
    let ran = trial.arg("two words").arg("").arg("é").run();
    assert_eq!(ran.output(), "guest\0two words\0\0é\0");
}

fn environment_arrives_in_order(subject: &Subject) {
    let trial = subject.guest(include_str!("../guests/env.wat"));
    let ran = trial
        .env("Z", "first")
        .env("A", "a=b")
        .env("EMPTY", "")
        .run();
    assert_eq!(ran.output(), "Z=first\0A=a=b\0EMPTY=\0");
}

fn stdin_is_read_to_its_end(subject: &Subject) {
    let text = "a line\n".repeat(30_000);
    assert_eq!(subject.guest(CAT).stdin(text.as_str()).run().output(), text);
    assert_eq!(subject.guest(CAT).run().output(), "", "an empty stdin");
}

/// Each line comes back before the next is sent; a guest that waits for one has
/// no thread beside it.
fn stdin_is_read_as_it_comes(subject: &Subject) {
    let trial = subject.guest(CAT);
    assert_eq!(trial.compile(), End::Done);
    let mut guest = Launched(trial.launch());
    for line in [b"first\n", b"later\n"] {
        let mut echo = [0; 6];
        guest
            .0
            .stdin
            .as_mut()
            .expect("a pipe")
            .write_all(line)
            .expect("a line is sent");
        guest
            .0
            .stdout
            .as_mut()
            .expect("a pipe")
            .read_exact(&mut echo)
            .expect("it comes back");
        assert_eq!(&echo, line);
        guest.assert_one_thread();
    }
    drop(guest.0.stdin.take());
    assert_eq!(guest.0.wait().expect("the child's status").code(), Some(0));
}

fn stdout_and_stderr_are_apart(subject: &Subject) {
    let ran = subject.guest(include_str!("../guests/both.wat")).run();
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "to stderr\n");
    assert_eq!(ran.output(), "to stdout\n");
}

fn a_mebibyte_of_stdout_arrives_whole_before_the_exit(subject: &Subject) {
    let ran = subject.guest(LARGE).run();
    assert_eq!(ran.end, End::Exit(0));
    let expected: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
    assert_eq!(ran.stdout.len(), expected.len());
    assert!(ran.stdout == expected, "the bytes differ");
}

/// The guest of 100 + errno ends by itself; it neither traps nor vanishes.
fn a_closed_stdout_is_an_error_of_the_guest(subject: &Subject) {
    let trial = subject.guest(LARGE);
    assert_eq!(trial.compile(), End::Done);
    let mut child = trial.launch();
    drop(child.stdout.take());
    let code = child.wait().expect("the child's status").code();
    assert!(
        code.is_some_and(|code| code > 100 && code != 134),
        "{code:?}"
    );
}

fn a_trap_ends_with_134_and_names_its_cause(subject: &Subject) {
    let ran = subject.guest(TRAP).run();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "before\n");
    assert_eq!(ran.status.code(), Some(i32::from(Outcome::ABORTED)));
    let End::Trap(why) = ran.end else {
        panic!("{:?}", ran.end)
    };
    assert!(why.contains("unreachable"), "{why}");
}

fn a_trap_names_its_function(subject: &Subject) {
    let end = subject.guest(TRAP).run().end;
    assert!(
        matches!(&end, End::Trap(why) if why.contains("boom")),
        "{end:?}"
    );
}

fn another_entry_function_is_called(subject: &Subject) {
    let entries = include_str!("../guests/entries.wat");
    assert_eq!(subject.guest(entries).run().output(), "start\n");
    assert_eq!(
        subject.guest(entries).entry("other").run().output(),
        "other\n"
    );
}

fn random_bytes_differ_between_runs(subject: &Subject) {
    let trial = subject.guest(include_str!("../guests/random.wat"));
    let (first, second) = (trial.run(), trial.run_compiled());
    assert_eq!((first.stdout.len(), second.stdout.len()), (16, 16));
    assert_ne!(first.stdout, second.stdout);
}

fn clocks_tell_the_time_and_sleep_takes_its_time(subject: &Subject) {
    let before = SystemTime::now();
    let ran = subject.guest(CLOCK).run();
    let after = SystemTime::now();
    assert_eq!(ran.end, End::Exit(0));
    let times: Vec<_> = ran
        .stdout
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| Duration::from_nanos(u64::from_le_bytes(*bytes)))
        .collect();
    let [time, asleep, awake] = times[..] else {
        panic!("{times:?}")
    };
    let time = SystemTime::UNIX_EPOCH + time;
    assert!(
        before <= time && time <= after,
        "{time:?} is not in {before:?}..{after:?}"
    );
    assert!(
        awake - asleep >= Duration::from_millis(50),
        "slept {:?}",
        awake - asleep
    );
}

fn the_process_has_one_thread_at_its_end(subject: &Subject) {
    assert_eq!(subject.guest(HELLO).run().threads, 1, "after hello");
    assert_eq!(
        subject.guest(CAT).stdin("text").run().threads,
        1,
        "after stdin"
    );
    assert_eq!(subject.guest(CLOCK).run().threads, 1, "after a sleep");
}

fn a_signal_ends_a_sleeping_guest(subject: &Subject) {
    signal_ends(subject, include_str!("../guests/sleep.wat"));
}

fn a_signal_ends_a_computing_guest(subject: &Subject) {
    signal_ends(subject, include_str!("../guests/spin.wat"));
}

fn signal_ends(subject: &Subject, guest: &str) {
    let trial = subject.guest(guest);
    assert_eq!(trial.compile(), End::Done);
    let mut guest = Launched(trial.launch());
    let mut ready = [0; 6];
    guest
        .0
        .stdout
        .as_mut()
        .expect("a pipe")
        .read_exact(&mut ready)
        .expect("the guest's word");
    assert_eq!(&ready, b"ready\n");
    guest.assert_one_thread();
    let sent = Instant::now();
    kill_process(Pid::from_child(&guest.0), Signal::TERM).expect("a signal");
    assert_eq!(
        guest.0.wait().expect("the child's status").code(),
        Some(143)
    );
    assert!(
        sent.elapsed() < Duration::from_secs(10),
        "took {:?}",
        sent.elapsed()
    );
}

/// A guest that lives beside its case, and not longer.
struct Launched(Child);

impl Launched {
    fn assert_one_thread(&self) {
        let tasks = format!("/proc/{}/task", self.0.id());
        assert_eq!(std::fs::read_dir(tasks).expect("its threads").count(), 1);
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // A child that has ended already is only reaped, if it was not yet.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
