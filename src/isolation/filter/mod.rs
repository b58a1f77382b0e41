//! Which system calls a RUN may use: a filter equal to a container engine's default, for a host or a pod that has none, or
//! a wider one.
//!
//! Knows calls by number and argument, and how their list becomes a program for the kernel. Does not know who installs it.
//! *Invariant: what is not in the table is refused: as unknown where it is newer than the table, else as not permitted.*

#[cfg(target_arch = "x86_64")]
pub(super) mod mediated;
pub(super) mod nodes;
mod table;

use std::collections::BTreeMap;

use nix::errno::Errno;

use crate::sys::Error;
use crate::sys::seccomp::{self, Instruction, Verdict};
use table::{ALLOWED, CLONE, CLONE3, NEWEST, PERSONALITY, SOCKET, X};

/// The machine's own architecture and that of 32-bit programs: the mark in seccomp's data, and the place in the table.
/// Source: linux/audit.h, `AUDIT_ARCH_*`.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [(u32, usize); 2] = [(0xc000_003e, 0), (0x4000_0003, 1)];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [(u32, usize); 2] = [(0xc000_00b7, 2), (0x4000_0028, 3)];

/// New namespaces of any kind. Source: clone(2), `CLONE_NEW*`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the question for the current one.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];
/// Sockets to the host of a virtual machine; no namespace holds them. Source: vsock(7).
const AF_VSOCK: u32 = 40;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Always(Verdict),
    /// These instructions look at its arguments, and decide.
    Test(Vec<Instruction>),
}

const YES: Verdict = Verdict::Allow;
const NO: Verdict = Verdict::NotPermitted;

/// Installs the filter for this process and what it executes. Needs CAP_SYS_ADMIN, or that no new privileges are allowed.
///
/// # Errors
/// When the kernel refuses it, though it knows filters and none is in force.
pub(super) fn install() -> Result<(), Error> {
    match seccomp::install(&program()) {
        Err(error) if !matches!(error.errno, Errno::ENOSYS | Errno::EINVAL) && !seccomp::is_filtered() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the program.
fn program() -> Vec<Instruction> {
    let mut program = vec![seccomp::load_architecture()];
    for (mark, column) in ARCHITECTURES {
        let calls = calls(&rules(column));
        let length = u32::try_from(calls.len()).expect("some hundred instructions");
        // The jumps of a comparison reach 255 instructions only.
        program.extend([seccomp::if_equal(mark, 1, 0), seccomp::jump(length)]);
        program.extend(calls);
    }
    program.push(seccomp::decide(Verdict::NotPermitted));
    program
}

/// Lists what is not refused on an architecture, by number.
fn rules(column: usize) -> BTreeMap<u32, Rule> {
    let allowed = ALLOWED.iter().map(|(_, numbers)| (numbers[column], Rule::Always(Verdict::Allow)));
    let special = [
        (CLONE[column], without(0, NEW_NAMESPACES)),
        // Its arguments are in memory, where no filter can look; programs take clone(2) instead.
        (CLONE3[column], Rule::Always(Verdict::Unknown)),
        (PERSONALITY[column], one_of(0, &PERSONALITIES)),
        (SOCKET[column], is_not(0, AF_VSOCK)),
    ];
    allowed.chain(special).filter(|(number, _)| *number != X).collect()
}

/// Makes the part of an architecture: a search for the call's number among the borders between rules.
fn calls(rules: &BTreeMap<u32, Rule>) -> Vec<Instruction> {
    let mut borders: Vec<(u32, Rule)> = Vec::new();
    let mut add = |number: u32, rule: Rule| {
        borders.pop_if(|(last, _)| *last == number);
        if borders.last().is_none_or(|(_, known)| *known != rule) {
            borders.push((number, rule));
        }
    };
    add(0, Rule::Always(Verdict::NotPermitted));
    for (number, rule) in rules {
        add(*number, rule.clone());
        let rest = if *number < NEWEST { Verdict::NotPermitted } else { Verdict::Unknown };
        add(number + 1, Rule::Always(rest));
    }
    let mut program = vec![seccomp::load_number()];
    search(&borders, &mut program);
    program
}

fn search(borders: &[(u32, Rule)], program: &mut Vec<Instruction>) {
    if let [(_, rule)] = borders {
        return rule.write(program);
    }
    let (below, above) = borders.split_at(borders.len() / 2);
    let Some((border, _)) = above.first() else { return };
    let mut left = Vec::new();
    search(below, &mut left);
    let length = u32::try_from(left.len()).expect("some hundred instructions");
    program.extend([seccomp::if_at_least(*border, 0, 1), seccomp::jump(length)]);
    program.extend(left);
    search(above, program);
}

impl Rule {
    fn write(&self, program: &mut Vec<Instruction>) {
        match self {
            Self::Always(verdict) => program.push(seccomp::decide(*verdict)),
            Self::Test(instructions) => program.extend_from_slice(instructions),
        }
    }
}

/// Allows a call one of whose arguments has none of these bits.
fn without(argument: u32, bits: u32) -> Rule {
    Rule::Test(vec![
        seccomp::load_argument(argument),
        seccomp::if_any_bit(bits, 1, 0),
        seccomp::decide(YES),
        seccomp::decide(NO),
    ])
}

/// Allows a call one of whose arguments is one of these.
fn one_of(argument: u32, values: &[u32]) -> Rule {
    listed(argument, values, YES, NO)
}

/// Allows a call one of whose arguments is not this.
fn is_not(argument: u32, value: u32) -> Rule {
    listed(argument, &[value], NO, YES)
}

/// Decides by whether the lower half of an argument is one of these.
fn listed(argument: u32, values: &[u32], yes: Verdict, no: Verdict) -> Rule {
    let mut program = vec![seccomp::load_argument(argument)];
    for (number, value) in (0_u8..).zip(values) {
        let left = u8::try_from(values.len()).unwrap_or(u8::MAX) - number;
        program.push(seccomp::if_equal(*value, left, 0));
    }
    program.extend([seccomp::decide(no), seccomp::decide(yes)]);
    Rule::Test(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn judge(architecture: u32, number: u32, first: u32) -> Verdict {
        seccomp::simulate(&program(), architecture, number, [first.into(), 0, 0, 0, 0, 0])
    }

    #[test]
    fn calls_are_judged_by_number_and_argument() {
        for (mark, column) in ARCHITECTURES {
            let find = |name: &str| ALLOWED.iter().find(|(known, _)| *known == name).unwrap().1[column];
            for name in ["read", "openat", "execve", "ptrace", "prctl", "setresuid", "chroot", "openat2", "mseal"] {
                assert_eq!(judge(mark, find(name), 0), Verdict::Allow, "{name}");
            }
            for number in [425, 426, 427, 428, 429, 430, 431, 432, 433, 442] {
                // io_uring, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr.
                assert_eq!(judge(mark, number, 0), Verdict::NotPermitted, "{number}");
            }
            for number in [CLONE3[column], NEWEST + 1, 0x4000_0000, u32::MAX - 1, u32::MAX] {
                assert_eq!(judge(mark, number, 0), Verdict::Unknown, "{number}");
            }
            for (number, first, expected) in [
                (CLONE[column], 0x11, Verdict::Allow),
                (CLONE[column], 0x1000_0011, Verdict::NotPermitted),
                (PERSONALITY[column], 8, Verdict::Allow),
                (PERSONALITY[column], u32::MAX, Verdict::Allow),
                (PERSONALITY[column], 0x4_0000, Verdict::NotPermitted),
                (SOCKET[column], 2, Verdict::Allow),
                (SOCKET[column], AF_VSOCK, Verdict::NotPermitted),
            ] {
                assert_eq!(judge(mark, number, first), expected, "{number} {first}");
            }
        }
        assert_eq!(judge(1, 0, 0), Verdict::NotPermitted);
    }

    #[test]
    fn every_call_of_the_table_and_no_other_is_allowed() {
        for (mark, column) in ARCHITECTURES {
            let known = rules(column);
            for number in 0..=NEWEST {
                let expected = match known.get(&number) {
                    None => Verdict::NotPermitted,
                    Some(Rule::Always(verdict)) => *verdict,
                    // Zero is no new namespace, the usual personality, and no socket of a machine's host.
                    Some(Rule::Test(_)) => Verdict::Allow,
                };
                assert_eq!(judge(mark, number, 0), expected, "{number}");
            }
        }
        // The kernel takes 4096 instructions.
        assert!(program().len() < 2000, "{}", program().len());
    }

    #[test]
    fn the_numbers_are_those_of_the_machine() {
        for (name, expected) in [
            ("read", libc::SYS_read),
            ("openat", libc::SYS_openat),
            ("execveat", libc::SYS_execveat),
            ("statx", libc::SYS_statx),
            ("ptrace", libc::SYS_ptrace),
            ("renameat2", libc::SYS_renameat2),
            ("getrandom", libc::SYS_getrandom),
            ("close_range", libc::SYS_close_range),
            ("setgroups", libc::SYS_setgroups),
            ("mknodat", libc::SYS_mknodat),
            ("process_vm_readv", libc::SYS_process_vm_readv),
        ] {
            let found = ALLOWED.iter().find(|(known, _)| *known == name).unwrap();
            assert_eq!(i64::from(found.1[ARCHITECTURES[0].1]), expected, "{name}");
        }
        let own = ARCHITECTURES[0].1;
        assert_eq!(i64::from(CLONE[own]), libc::SYS_clone);
        assert_eq!(i64::from(PERSONALITY[own]), libc::SYS_personality);
        assert_eq!(i64::from(SOCKET[own]), libc::SYS_socket);
    }
}
