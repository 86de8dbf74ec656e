//! Rules on devices as a program for the kernel's virtual machine
//! (`bpf-docs/standardization/instruction-set.rst`).

use std::fmt;

/// What is done to a device, one bit each (`linux/bpf.h`, `BPF_DEVCG_ACC_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(i32);

impl Access {
    /// Making a node.
    pub const MAKE: Self = Self(1);
    /// Reading.
    pub const READ: Self = Self(2);
    /// Writing.
    pub const WRITE: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The first without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is none.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The specification's letters; none for any other.
    pub fn parse(letters: &str) -> Option<Self> {
        letters.chars().try_fold(Self(0), |access, letter| {
            let one = match letter {
                'm' => Self::MAKE,
                'r' => Self::READ,
                'w' => Self::WRITE,
                _ => return None,
            };
            Some(access.and(one))
        })
    }
}

/// The specification's letters.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MAKE, 'm')];
        letters
            .into_iter()
            .filter(|(one, _)| self.0 & one.0 != 0)
            .try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

/// A sort of device (`linux/bpf.h`, `BPF_DEVCG_DEV_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Either.
    Any,
    /// A block device.
    Block,
    /// A character device.
    Char,
}

/// What may or may not be done to some devices. A number that is not there is
/// any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it may.
    pub allow: bool,
    /// The sort of device.
    pub kind: Kind,
    /// The major number.
    pub major: Option<i32>,
    /// The minor number.
    pub minor: Option<i32>,
    /// What.
    pub access: Access,
}

/// As `devices.allow` and `devices.deny` of v1 have it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Any => 'a',
            Kind::Block => 'b',
            Kind::Char => 'c',
        };
        let number = |number: Option<i32>| number.map_or("*".to_owned(), |it| it.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{kind} {major}:{minor} {}", self.access)
    }
}

impl Rule {
    /// One that allows.
    pub const fn allow(kind: Kind, major: Option<i32>, minor: Option<i32>, access: Access) -> Self {
        Self {
            allow: true,
            kind,
            major,
            minor,
            access,
        }
    }
}

/// `struct bpf_insn` of `linux/bpf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// The destination in the low half, the source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The answer.
const ANSWER: u8 = 0;
/// The address of `struct bpf_cgroup_dev_ctx`.
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
/// What is asked for and no rule has decided yet.
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_OTHER: u8 = 0x55;
const EXIT: u8 = 0x95;

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset,
        immediate,
    }
}

const fn load(register: u8, offset: i16) -> Instruction {
    instruction(LOAD_WORD, register | CONTEXT << 4, offset, 0)
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        instruction(MOVE, ANSWER, 0, allow.into()),
        instruction(EXIT, 0, 0, 0),
    ]
}

/// The program that decides by these rules.
pub fn program(rules: &[Rule]) -> Vec<Instruction> {
    // The type is in the low half of its word, the access in the high one.
    let mut program = vec![
        load(TYPE, 0),
        instruction(AND, TYPE, 0, 0xffff),
        load(ASKED, 0),
        instruction(SHIFT_RIGHT, ASKED, 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    // The last rule counts, so it is the first to be looked at.
    for rule in rules.iter().rev() {
        let decision = decide(rule);
        let kind = match rule.kind {
            Kind::Any => None,
            Kind::Block => Some(1),
            Kind::Char => Some(2),
        };
        let conditions: Vec<_> = [(TYPE, kind), (MAJOR, rule.major), (MINOR, rule.minor)]
            .into_iter()
            .filter_map(|(register, value)| Some((register, value?)))
            .collect();
        for (index, (register, value)) in conditions.iter().enumerate() {
            let skipped = conditions.len() - index - 1 + decision.len();
            program.push(instruction(
                JUMP_IF_OTHER,
                *register,
                skipped as i16,
                *value,
            ));
        }
        program.extend(decision);
    }
    program.extend(answer(false));
    program
}

/// What a rule does with an access to a device that it is about.
fn decide(rule: &Rule) -> Vec<Instruction> {
    let mut steps = if rule.allow {
        vec![
            instruction(AND, ASKED, 0, !rule.access.0),
            instruction(JUMP_IF_OTHER, ASKED, 2, 0),
        ]
    } else {
        vec![
            instruction(MOVE_REGISTER, ANSWER | ASKED << 4, 0, 0),
            instruction(AND, ANSWER, 0, rule.access.0),
            instruction(JUMP_IF_EQUAL, ANSWER, 2, 0),
        ]
    };
    steps.extend(answer(rule.allow));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would. The context is two words and one.
    fn run(program: &[Instruction], context: [u32; 3]) -> bool {
        let mut registers = [0_u64; 6];
        let mut at = 0_usize;
        loop {
            let Instruction {
                code,
                registers: named,
                offset,
                immediate,
            } = program[at];
            let (to, from) = (usize::from(named & 15), usize::from(named >> 4));
            let value = i64::from(immediate) as u64;
            at += 1;
            let jump = match code {
                LOAD_WORD => {
                    assert_eq!(from, usize::from(CONTEXT));
                    registers[to] = context[offset as usize / 4].into();
                    false
                }
                AND => {
                    registers[to] &= value;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= value;
                    false
                }
                MOVE => {
                    registers[to] = value;
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                JUMP_IF_EQUAL => registers[to] == value,
                JUMP_IF_OTHER => registers[to] != value,
                EXIT => return registers[usize::from(ANSWER)] == 1,
                other => panic!("no instruction {other:#x}"),
            };
            if jump {
                at += usize::try_from(offset).unwrap();
            }
        }
    }

    fn may(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let kind = if kind == Kind::Block { 1 } else { 2 };
        let first = (access.0 as u32) << 16 | kind;
        run(&program(rules), [first, major, minor])
    }

    fn deny(kind: Kind, major: Option<i32>, minor: Option<i32>, access: Access) -> Rule {
        Rule {
            allow: false,
            ..Rule::allow(kind, major, minor, access)
        }
    }

    const READ_WRITE: Access = Access::READ.and(Access::WRITE);

    #[test]
    fn what_no_rule_is_about_is_denied() {
        assert!(!may(&[], Kind::Char, 1, 3, Access::READ));
        let rules = [Rule::allow(Kind::Char, Some(1), Some(3), Access::ALL)];
        assert!(may(&rules, Kind::Char, 1, 3, READ_WRITE));
        for (kind, major, minor) in [(Kind::Block, 1, 3), (Kind::Char, 2, 3), (Kind::Char, 1, 4)] {
            assert!(!may(&rules, kind, major, minor, Access::READ));
        }
    }

    #[test]
    fn the_last_rule_counts() {
        let all = Rule::allow(Kind::Any, None, None, Access::ALL);
        let none = deny(Kind::Any, None, None, Access::ALL);
        let one = deny(Kind::Block, Some(8), None, Access::WRITE);
        assert!(may(&[none, all], Kind::Char, 9, 9, READ_WRITE));
        assert!(!may(&[all, none], Kind::Char, 9, 9, READ_WRITE));
        let rules = [all, one];
        assert!(may(&rules, Kind::Block, 8, 1, Access::READ));
        assert!(!may(&rules, Kind::Block, 8, 1, READ_WRITE));
        assert!(may(&rules, Kind::Block, 9, 1, READ_WRITE));
    }

    #[test]
    fn two_rules_may_allow_together_what_is_asked_for() {
        let read = Rule::allow(Kind::Char, Some(10), None, Access::READ);
        let write = Rule::allow(Kind::Char, None, Some(200), Access::WRITE);
        assert!(may(&[read, write], Kind::Char, 10, 200, READ_WRITE));
        assert!(!may(&[read, write], Kind::Char, 10, 201, READ_WRITE));
        assert!(!may(&[read, write], Kind::Char, 10, 200, Access::ALL));
    }
}
