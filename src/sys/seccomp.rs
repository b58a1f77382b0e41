//! Filters of system calls: the words of their programs, and installing one.
//!
//! Knows seccomp(2) and what of classic BPF it takes. Does not know which calls to refuse. Only for machines whose lowest
//! byte comes first, as all that we run on.

use nix::errno::Errno;

use super::Error;

/// One instruction of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Allow,
    /// It fails with `EPERM`.
    NotPermitted,
    /// It fails with `ENOSYS`, as in a kernel that does not know it.
    Unknown,
    /// It fails with `EINVAL`.
    Invalid,
    /// Whoever listens to the filter answers it.
    Notify,
}

/// Where the parts of `struct seccomp_data` are. Source: linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Source: linux/bpf_common.h.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Source: linux/seccomp.h.
const ALLOW: u32 = 0x7fff_0000;
const FAIL: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;

/// Loads the architecture of the call.
pub fn load_architecture() -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, value: ARCHITECTURE }
}

/// Loads the number of the call.
pub fn load_number() -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, value: NUMBER }
}

/// Loads the lower half of an argument of the call; the first is 0.
pub fn load_argument(index: u32) -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, value: FIRST_ARGUMENT + 8 * index }
}

/// Loads the upper half of an argument of the call; the first is 0.
pub fn load_upper_half(index: u32) -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, value: FIRST_ARGUMENT + 8 * index + 4 }
}

/// Skips so many instructions.
pub fn jump(instructions: u32) -> Instruction {
    Instruction { code: JUMP, if_true: 0, if_false: 0, value: instructions }
}

/// Skips so many instructions, by whether what was loaded is `value`.
pub fn if_equal(value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code: JUMP_IF_EQUAL, if_true, if_false, value }
}

/// Skips so many instructions, by whether what was loaded is `value` or more.
pub fn if_at_least(value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code: JUMP_IF_AT_LEAST, if_true, if_false, value }
}

/// Skips so many instructions, by whether what was loaded has any bit of `value`.
pub fn if_any_bit(value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code: JUMP_IF_ANY_BIT, if_true, if_false, value }
}

/// Ends the program.
pub fn decide(verdict: Verdict) -> Instruction {
    Instruction { code: RETURN, if_true: 0, if_false: 0, value: verdict.word() }
}

impl Verdict {
    fn word(self) -> u32 {
        match self {
            Self::Allow => ALLOW,
            Self::NotPermitted => FAIL | libc::EPERM.unsigned_abs(),
            Self::Unknown => FAIL | libc::ENOSYS.unsigned_abs(),
            Self::Invalid => FAIL | libc::EINVAL.unsigned_abs(),
            Self::Notify => NOTIFY,
        }
    }
}

/// Installs a program for this process and all that it will start, for good. Needs CAP_SYS_ADMIN in the process's user
/// namespace, or that it has forbidden itself new privileges.
pub fn install(program: &[Instruction]) -> Result<(), Error> {
    with_program(program, |program| {
        let set = |flags: libc::c_ulong| {
            // SAFETY: the program points to as many live words as it says, and the kernel only reads them.
            let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, program) };
            Errno::result(result).map(drop)
        };
        // Else older kernels slow the processor down for whoever has a filter. The oldest do not know the flag.
        set(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW)
            .or_else(|_| set(0))
            .map_err(|errno| Error::new("seccomp(SECCOMP_SET_MODE_FILTER)", errno))
    })
}

/// Gives a program to `take` as the kernel wants it; the pointer is good as long as that runs.
pub(super) fn with_program<T>(
    program: &[Instruction],
    take: impl FnOnce(*const libc::sock_fprog) -> Result<T, Error>,
) -> Result<T, Error> {
    let word = |instruction: &Instruction| libc::sock_filter {
        code: instruction.code,
        jt: instruction.if_true,
        jf: instruction.if_false,
        k: instruction.value,
    };
    let mut words: Vec<libc::sock_filter> = program.iter().map(word).collect();
    let length = u16::try_from(words.len()).map_err(|_| Error::new("seccomp(program)", Errno::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: words.as_mut_ptr() };
    take(&raw const program)
}

/// Tells whether a filter of somebody's is in force for this process.
pub fn is_filtered() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// Runs a program as the kernel would.
#[cfg(test)]
pub(crate) fn simulate(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> Verdict {
    let (mut place, mut loaded) = (0_usize, 0_u32);
    loop {
        let Instruction { code, if_true, if_false, value } = program[place];
        place += 1;
        let mut branch = |holds: bool| place += usize::from(if holds { if_true } else { if_false });
        match code {
            LOAD => {
                loaded = match value {
                    NUMBER => number,
                    ARCHITECTURE => architecture,
                    place if place >= FIRST_ARGUMENT => {
                        let argument = arguments[usize::try_from((place - FIRST_ARGUMENT) / 8).unwrap()];
                        u32::try_from(if place % 8 == 4 { argument >> 32 } else { argument & 0xffff_ffff }).unwrap()
                    }
                    other => panic!("nothing is at {other}"),
                };
            }
            JUMP => place += usize::try_from(value).unwrap(),
            JUMP_IF_EQUAL => branch(loaded == value),
            JUMP_IF_AT_LEAST => branch(loaded >= value),
            JUMP_IF_ANY_BIT => branch(loaded & value != 0),
            RETURN => {
                use Verdict::{Allow, Invalid, NotPermitted, Notify, Unknown};
                let all = [Allow, NotPermitted, Unknown, Invalid, Notify];
                return all.into_iter().find(|verdict| verdict.word() == value).unwrap();
            }
            other => panic!("no such instruction: {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_a_program_and_obeys_it() {
        let program = [
            load_number(),
            if_equal(u32::try_from(libc::SYS_getppid).unwrap(), 0, 1),
            decide(Verdict::Unknown),
            decide(Verdict::Allow),
        ];
        // In a thread that ends: a filter is for good.
        let tried = std::thread::spawn(move || {
            super::super::process::forbid_new_privileges().unwrap();
            install(&program).unwrap();
            assert!(is_filtered());
            // SAFETY: the call takes nothing and touches no memory.
            let result = unsafe { libc::syscall(libc::SYS_getppid) };
            Errno::result(result)
        });
        assert_eq!(tried.join().unwrap(), Err(Errno::ENOSYS));
    }
}
