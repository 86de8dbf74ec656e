//! The limits that an engine declares.

use super::{Case, cases};
use crate::testing::process::{End, Refusal};
use crate::testing::subject::Subject;
use crate::{Kind, Limits};

pub(super) const MEMORY: &[Case] = cases![
    memory_grows_to_its_limit_and_no_further,
    a_memory_that_starts_beyond_its_limit_fails
];
pub(super) const TABLE: &[Case] = cases![
    a_table_grows_to_its_limit_and_no_further,
    a_table_that_starts_beyond_its_limit_fails
];
pub(super) const STACK: &[Case] = cases![a_stack_beyond_its_limit_traps];
pub(super) const FUEL: &[Case] = cases![fuel_that_is_used_up_ends_the_guest];

const GROW_MEMORY: &str = include_str!("../guests/grow-memory.wat");
const GROW_TABLE: &str = include_str!("../guests/grow-table.wat");
const RECURSE: &str = include_str!("../guests/recurse.wat");
const SPIN: &str = include_str!("../guests/spin.wat");
const HELLO: &str = include_str!("../guests/hello.wat");
const BIG_MEMORY: &str = include_str!("../guests/big-memory.wat");
const BIG_TABLE: &str = include_str!("../guests/big-table.wat");

fn memory(bytes: u64) -> Limits {
    Limits {
        memory: Some(bytes),
        ..Limits::default()
    }
}

fn table(elements: u64) -> Limits {
    Limits {
        table: Some(elements),
        ..Limits::default()
    }
}

fn stack(bytes: u64) -> Limits {
    Limits {
        stack: Some(bytes),
        ..Limits::default()
    }
}

fn fuel(units: u64) -> Limits {
    Limits {
        fuel: Some(units),
        ..Limits::default()
    }
}

fn memory_grows_to_its_limit_and_no_further(subject: &Subject) {
    assert_eq!(
        subject.guest(GROW_MEMORY).limits(memory(1 << 20)).run().end,
        End::Exit(0)
    );
    assert_eq!(
        subject
            .guest(GROW_MEMORY)
            .limits(memory(64 << 20))
            .run()
            .end,
        End::Exit(1)
    );
    assert_eq!(
        subject.guest(GROW_MEMORY).run().end,
        End::Exit(1),
        "no limit"
    );
}

fn a_memory_that_starts_beyond_its_limit_fails(subject: &Subject) {
    fails_at_its_limit(
        subject,
        BIG_MEMORY,
        memory(64 << 20),
        memory((64 << 20) - 1),
        "memory",
    );
}

fn a_table_grows_to_its_limit_and_no_further(subject: &Subject) {
    assert_eq!(
        subject.guest(GROW_TABLE).limits(table(100)).run().end,
        End::Exit(0)
    );
    assert_eq!(
        subject.guest(GROW_TABLE).limits(table(1_000_000)).run().end,
        End::Exit(1)
    );
    assert_eq!(
        subject.guest(GROW_TABLE).run().end,
        End::Exit(1),
        "no limit"
    );
}

fn a_table_that_starts_beyond_its_limit_fails(subject: &Subject) {
    fails_at_its_limit(
        subject,
        BIG_TABLE,
        table(1_000_000),
        table(999_999),
        "table",
    );
}

/// Whether refused at load or ended at its start, the message says why.
fn fails_at_its_limit(subject: &Subject, text: &str, enough: Limits, less: Limits, what: &str) {
    let with = |limits| subject.text(Kind::Module, text).limits(limits).run().end;
    assert_eq!(with(enough), End::Exit(0));
    match with(less) {
        End::Limit(why)
        | End::Refused {
            by: Refusal::Limit,
            why,
        } => {
            assert!(why.contains(what), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

fn a_stack_beyond_its_limit_traps(subject: &Subject) {
    assert_eq!(
        subject.guest(RECURSE).limits(stack(64 << 20)).run().end,
        End::Exit(0)
    );
    let end = subject.guest(RECURSE).limits(stack(64 << 10)).run().end;
    let End::Trap(why) = end else {
        panic!("{end:?}")
    };
    assert!(why.contains("stack"), "{why}");
}

fn fuel_that_is_used_up_ends_the_guest(subject: &Subject) {
    let end = subject.guest(SPIN).limits(fuel(1_000_000)).run().end;
    let End::Limit(why) = end else {
        panic!("{end:?}")
    };
    assert!(why.contains("fuel"), "{why}");
    let ran = subject.guest(HELLO).limits(fuel(1_000_000)).run();
    assert_eq!(ran.output(), "hello from the guest\n");
}
