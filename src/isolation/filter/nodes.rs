//! A filter that hands the making of devices over to whoever listens, and lets all else pass.
//!
//! Knows mknod(2) and mknodat(2) by number and argument. Does not know what the answer is.

use super::ARCHITECTURES;
use super::table::ALLOWED;
use crate::sys::seccomp::{self, Instruction, Verdict};

/// Devices have it in the kind that they are made with, and nothing else that mknod(2) makes. Source: inode(7).
const OF_DEVICES: u32 = 0o020_000;

/// The calls, and which argument of each is the mode.
const CALLS: [(&str, u32); 2] = [("mknod", 1), ("mknodat", 2)];

/// Makes the program.
pub(in crate::isolation) fn program() -> Vec<Instruction> {
    let mut program = vec![seccomp::load_architecture()];
    for (mark, column) in ARCHITECTURES {
        let calls = calls(column);
        let length = u32::try_from(calls.len()).expect("a dozen instructions");
        program.extend([seccomp::if_equal(mark, 1, 0), seccomp::jump(length)]);
        program.extend(calls);
    }
    program.push(seccomp::decide(Verdict::Allow));
    program
}

/// Tells which argument of the call `number` is the mode; none of other calls.
pub(in crate::isolation) fn mode_argument(number: i64) -> Option<u32> {
    let is_it = |name: &str| {
        let known = ALLOWED.iter().find(|(known, _)| *known == name);
        known.is_some_and(|(_, numbers)| ARCHITECTURES.iter().any(|(_, column)| i64::from(numbers[*column]) == number))
    };
    CALLS.iter().find(|(name, _)| is_it(name)).map(|(_, argument)| *argument)
}

fn calls(column: usize) -> Vec<Instruction> {
    let mut program = vec![seccomp::load_number()];
    for (name, argument) in CALLS {
        let number = ALLOWED.iter().find(|(known, _)| *known == name).map(|(_, numbers)| numbers[column]);
        program.extend([
            seccomp::if_equal(number.unwrap_or(super::X), 0, 4),
            seccomp::load_argument(argument),
            seccomp::if_any_bit(OF_DEVICES, 0, 1),
            seccomp::decide(Verdict::Notify),
            seccomp::decide(Verdict::Allow),
        ]);
    }
    program.push(seccomp::decide(Verdict::Allow));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_notified_and_nothing_else() {
        let (mark, column) = ARCHITECTURES[0];
        let number = |name: &str| ALLOWED.iter().find(|(known, _)| *known == name).unwrap().1[column];
        let judge = |name: &str, mode: u64, at: usize| {
            let mut arguments = [0; 6];
            arguments[at] = mode;
            seccomp::simulate(&program(), mark, number(name), arguments)
        };
        for (mode, expected) in [
            (0o020_666, Verdict::Notify),
            (0o060_666, Verdict::Notify),
            (0o010_666, Verdict::Allow),
            (0o140_666, Verdict::Allow),
            (0o100_666, Verdict::Allow),
            (0o666, Verdict::Allow),
        ] {
            assert_eq!(judge("mknodat", mode, 2), expected, "{mode:o}");
            assert_eq!(judge("mknodat", mode, 1), Verdict::Allow, "{mode:o} elsewhere");
            assert_eq!(judge("openat", mode, 2), Verdict::Allow, "{mode:o} of another call");
        }
        assert_eq!(mode_argument(libc::SYS_mknodat), Some(2));
        assert_eq!(mode_argument(libc::SYS_openat), None);
        assert_eq!(seccomp::simulate(&program(), 1, 133, [0o020_666; 6]), Verdict::Allow);
    }
}
