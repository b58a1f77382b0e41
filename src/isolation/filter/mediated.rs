//! The filter of `mediated` isolation: what RUN's processes may ask of the kernel themselves, and what is answered by
//! their supervisor.
//!
//! Knows calls by number and argument. Does not know what the answers are.
//!
//! *Invariant: a path, an address or a process that the kernel would take from RUN alone is never allowed: such a call is
//! notified. The kernel carries out itself what has the supervisor's token, which is in registers only, and takes what
//! such a call points to from the page that only the supervisor writes.*

use std::collections::BTreeMap;

use super::{ARCHITECTURES, NO, Rule, SOCKET, YES, calls, listed, rules};
use crate::sys::seccomp::{self, Instruction, Verdict};

/// What the filter of one RUN is made from.
#[derive(Clone, Copy, Debug)]
pub(in crate::isolation) struct Terms {
    /// What marks a call that the supervisor has put into a task's registers: its last argument.
    pub(in crate::isolation) token: u64,
    /// Where the page ends that only the supervisor writes; nothing below it may be mapped or unmapped.
    pub(in crate::isolation) page_end: u32,
    /// Whether there may be sockets of other families than those of the machine itself.
    pub(in crate::isolation) network: bool,
}

/// Answered by the supervisor, whatever their arguments.
const NOTIFIED: &[i64] = &[
    libc::SYS_open,
    libc::SYS_openat2,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_statfs,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_chroot,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_truncate,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_execve,
    libc::SYS_umask,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_setgroups,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sendmmsg,
    libc::SYS_memfd_create,
];

/// Lists the calls that a supervisor may be asked for, whatever their arguments.
#[cfg(any(test, fuzzing))]
pub(in crate::isolation) fn notified() -> impl Iterator<Item = i64> {
    NOTIFIED.iter().chain(WITH_TOKEN).copied().chain(TOLD.iter().map(|(number, ..)| *number))
}

/// Told to be unknown, so that programs do without. What they take is in memory, or not for RUN.
const UNKNOWN: &[i64] = &[
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_mark,
    libc::SYS_fanotify_init,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount_setattr,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_uselib,
    // statmount, listmount, setxattrat, getxattrat, listxattrat, removexattrat, file_getattr, file_setattr.
    457,
    458,
    463,
    464,
    465,
    466,
    468,
    469,
];

/// Not for RUN: they reach other processes.
const REFUSED: &[i64] = &[
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Their first argument is a process: none, or the caller itself by zero, is allowed.
const OF_A_PROCESS: &[i64] = &[
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_getpgid,
    libc::SYS_getsid,
];

/// The kernel carries them out when the supervisor has prepared them.
const WITH_TOKEN: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_execveat,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_sendmsg,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_inotify_add_watch,
];

/// Refused with this error, and notified only so that a RUN that fails can name them.
pub(in crate::isolation) const TOLD: &[(i64, &str, i32)] = &[
    (libc::SYS_ptrace, "ptrace", libc::EPERM),
    (libc::SYS_io_uring_setup, "io_uring_setup", libc::ENOSYS),
    (libc::SYS_mount, "mount", libc::EPERM),
    (libc::SYS_umount2, "umount2", libc::EPERM),
    (libc::SYS_pivot_root, "pivot_root", libc::EPERM),
    (libc::SYS_unshare, "unshare", libc::EPERM),
    (libc::SYS_setns, "setns", libc::EPERM),
];

const NOTIFY: Rule = Rule::Always(Verdict::Notify);

/// Where the last argument is.
const LAST: u32 = 5;

/// Source: asm-generic/socket.h. The others that tell of a peer: SO_PEERGROUPS, SO_PEERPIDFD.
const SO_PEERCRED: u32 = 17;
const SO_PEERS: [u32; 2] = [59, 77];

const PR_SET_MM: u32 = libc::PR_SET_MM.unsigned_abs();

/// What of prctl(2) the supervisor answers; the first is the loader's question.
pub(in crate::isolation) const PRCTL: [u32; 10] = [
    crate::isolation::mediated::LOADER_ASKS,
    4,  // PR_SET_DUMPABLE
    3,  // PR_GET_DUMPABLE
    24, // PR_CAPBSET_DROP
    23, // PR_CAPBSET_READ
    28, // PR_SET_SECUREBITS
    27, // PR_GET_SECUREBITS
    47, // PR_CAP_AMBIENT
    8,  // PR_SET_KEEPCAPS
    7,  // PR_GET_KEEPCAPS
];

/// Makes the program.
pub(in crate::isolation) fn program(terms: Terms) -> Vec<Instruction> {
    let (mark, column) = ARCHITECTURES[0];
    let mut all = rules(column);
    let mut set = |number: i64, rule: Rule| drop(all.insert(u32::try_from(number).unwrap_or(u32::MAX), rule));
    let verdicts = [(NOTIFIED, Verdict::Notify), (UNKNOWN, Verdict::Unknown), (REFUSED, Verdict::NotPermitted)];
    for (numbers, verdict) in verdicts {
        numbers.iter().for_each(|number| set(*number, Rule::Always(verdict)));
    }
    TOLD.iter().for_each(|(number, ..)| set(*number, NOTIFY));
    OF_A_PROCESS.iter().for_each(|number| set(*number, listed(0, &[0], YES, Verdict::Notify)));
    WITH_TOKEN.iter().for_each(|number| set(*number, with_token(terms.token)));
    for (number, rule) in special(terms) {
        set(number, rule);
    }
    let calls = calls(&all);
    let length = u32::try_from(calls.len()).expect("some hundred instructions");
    let mut program = vec![seccomp::load_architecture(), seccomp::if_equal(mark, 1, 0), seccomp::jump(length)];
    program.extend(calls);
    program.push(seccomp::decide(Verdict::Unknown));
    program
}

/// Lists the calls that need a look at more than one argument.
fn special(terms: Terms) -> BTreeMap<i64, Rule> {
    let column = ARCHITECTURES[0].1;
    let (unix, netlink) = (libc::AF_UNIX.unsigned_abs(), libc::AF_NETLINK.unsigned_abs());
    let sockets = if terms.network {
        when(0, &[unix], NOTIFY, super::is_not(0, super::AF_VSOCK))
    } else {
        when(0, &[unix], NOTIFY, listed(0, &[netlink], YES, NO))
    };
    BTreeMap::from([
        (libc::SYS_munmap, above(terms.page_end)),
        (libc::SYS_mprotect, above(terms.page_end)),
        (libc::SYS_pkey_mprotect, above(terms.page_end)),
        (libc::SYS_madvise, above(terms.page_end)),
        (libc::SYS_remap_file_pages, above(terms.page_end)),
        (libc::SYS_mremap, moved_above(terms.page_end)),
        (libc::SYS_shmat, above_or_zero(terms.page_end, 1, Verdict::Invalid)),
        (libc::SYS_mmap, above_or_zero(terms.page_end, 0, Verdict::Notify)),
        (i64::from(SOCKET[column]), sockets),
        // The limit of locks holds who a process is.
        (libc::SYS_setrlimit, super::is_not(0, libc::RLIMIT_LOCKS)),
        (libc::SYS_prlimit64, when(1, &[libc::RLIMIT_LOCKS], NOTIFY, listed(0, &[0], YES, Verdict::Notify))),
        (libc::SYS_socketpair, listed(0, &[unix], Verdict::Notify, NO)),
        // Without an address it goes where the socket is connected to.
        (libc::SYS_sendto, zero(4, Verdict::Notify)),
        (libc::SYS_prctl, when(0, &PRCTL, NOTIFY, super::is_not(0, PR_SET_MM))),
        (libc::SYS_getsockopt, when(2, &[SO_PEERCRED], with_token(terms.token), listed(2, &SO_PEERS, NO, YES))),
        // F_SETOWN, F_SETOWN_EX: signals of input would reach any process of the same user.
        (libc::SYS_fcntl, listed(1, &[8, 15], NO, YES)),
        // FIOSETOWN, SIOCSPGRP likewise; TIOCSTI, TIOCLINUX act on terminals that others read.
        (libc::SYS_ioctl, listed(1, &[0x8901, 0x8902, 0x5412, 0x541c], NO, YES)),
    ])
}

/// Allows a call whose last argument is the token; the supervisor answers the others.
fn with_token(token: u64) -> Rule {
    let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    Rule::Test(vec![
        seccomp::load_argument(LAST),
        seccomp::if_equal(half(token), 0, 3),
        seccomp::load_upper_half(LAST),
        seccomp::if_equal(half(token >> 32), 0, 1),
        seccomp::decide(YES),
        seccomp::decide(Verdict::Notify),
    ])
}

/// Decides by one rule where an argument is one of these, and else by another.
fn when(argument: u32, values: &[u32], then: Rule, otherwise: Rule) -> Rule {
    let mut program = vec![seccomp::load_argument(argument)];
    for (number, value) in (0_u8..).zip(values) {
        let left = u8::try_from(values.len()).unwrap_or(u8::MAX) - number;
        program.push(seccomp::if_equal(*value, left, 0));
    }
    let (then, otherwise) = (instructions(then), instructions(otherwise));
    program.push(seccomp::jump(u32::try_from(then.len()).unwrap_or_default()));
    program.extend(then);
    program.extend(otherwise);
    Rule::Test(program)
}

fn instructions(rule: Rule) -> Vec<Instruction> {
    match rule {
        Rule::Always(verdict) => vec![seccomp::decide(verdict)],
        Rule::Test(instructions) => instructions,
    }
}

/// Allows a call whose pointer is null.
fn zero(argument: u32, otherwise: Verdict) -> Rule {
    Rule::Test(vec![
        seccomp::load_argument(argument),
        seccomp::if_equal(0, 0, 3),
        seccomp::load_upper_half(argument),
        seccomp::if_equal(0, 0, 1),
        seccomp::decide(YES),
        seccomp::decide(otherwise),
    ])
}

/// Allows a call whose first argument, an address, is at or above `end`.
fn above(end: u32) -> Rule {
    let mut program = is_below(end, 0).to_vec();
    program.extend([seccomp::decide(Verdict::Invalid), seccomp::decide(YES)]);
    Rule::Test(program)
}

/// Skips the next instruction where an address is at or above `end`.
fn is_below(end: u32, argument: u32) -> [Instruction; 5] {
    [
        seccomp::load_upper_half(argument),
        seccomp::if_equal(0, 0, 2),
        seccomp::load_argument(argument),
        seccomp::if_at_least(end, 0, 1),
        seccomp::jump(1),
    ]
}

/// Allows a call whose address is at or above `end`, or left to the kernel.
fn above_or_zero(end: u32, argument: u32, otherwise: Verdict) -> Rule {
    // A zero in the lower half alone is an address far above.
    let mut program = vec![seccomp::load_argument(argument), seccomp::if_equal(0, 6, 0)];
    program.extend(is_below(end, argument));
    program.extend([seccomp::decide(otherwise), seccomp::decide(YES)]);
    Rule::Test(program)
}

/// Allows mremap(2) of what is above, to where that is, too. `MREMAP_FIXED` is 2.
fn moved_above(end: u32) -> Rule {
    let mut program = is_below(end, 0).to_vec();
    program.push(seccomp::decide(Verdict::Invalid));
    program.extend([seccomp::load_argument(3), seccomp::if_any_bit(2, 0, 6)]);
    program.extend(is_below(end, 4));
    program.extend([seccomp::decide(Verdict::Invalid), seccomp::decide(YES)]);
    Rule::Test(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: u64 = 0x1234_5678_9abc_def0;
    const END: u32 = 0x2_0000;

    fn judge(number: i64, arguments: [u64; 6]) -> Verdict {
        let program = program(Terms { token: TOKEN, page_end: END, network: true });
        seccomp::simulate(&program, ARCHITECTURES[0].0, u32::try_from(number).unwrap(), arguments)
    }

    fn first(number: i64, argument: u64) -> Verdict {
        judge(number, [argument, 0, 0, 0, 0, 0])
    }

    #[test]
    fn what_names_a_file_or_a_process_is_never_allowed_but_with_the_token() {
        for number in NOTIFIED {
            assert_eq!(judge(*number, [0; 6]), Verdict::Notify, "{number}");
        }
        for number in WITH_TOKEN {
            for (last, expected) in [
                (TOKEN, Verdict::Allow),
                (TOKEN & 0xffff_ffff, Verdict::Notify),
                (TOKEN ^ (1 << 40), Verdict::Notify),
                (0, Verdict::Notify),
            ] {
                assert_eq!(judge(*number, [0, 0, 0, 0, 0, last]), expected, "{number} {last:x}");
            }
        }
        for number in OF_A_PROCESS {
            assert_eq!(first(*number, 0), Verdict::Allow);
            assert_eq!(first(*number, 7), Verdict::Notify);
        }
        for number in REFUSED {
            assert_eq!(judge(*number, [0; 6]), Verdict::NotPermitted, "{number}");
        }
    }

    #[test]
    fn the_page_stays_where_it_is() {
        let high = 0x7f00_0000_0000_u64;
        for (address, allowed) in [
            (0, false),
            (0x1_0000, false),
            (u64::from(END) - 1, false),
            (u64::from(END), true),
            (0x1_0000_0000, true),
            (high, true),
        ] {
            let expected = if allowed { Verdict::Allow } else { Verdict::Invalid };
            for number in [libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise] {
                assert_eq!(first(number, address), expected, "{number} {address:x}");
            }
            let moved = judge(libc::SYS_mremap, [high, 0, 0, 3, address, 0]);
            assert_eq!(moved, expected, "mremap to {address:x}");
            assert_eq!(judge(libc::SYS_mremap, [high, 0, 0, 1, address, 0]), Verdict::Allow);
            let expected = match (address, allowed) {
                (0, _) | (_, true) => Verdict::Allow,
                (_, false) => Verdict::Notify,
            };
            assert_eq!(first(libc::SYS_mmap, address), expected, "mmap {address:x}");
        }
    }

    #[test]
    fn sockets_and_the_rest_are_judged_by_their_arguments() {
        for (number, arguments, expected) in [
            (libc::SYS_prlimit64, [0, 10, 0, 0, 0, 0], Verdict::Notify),
            (libc::SYS_prlimit64, [0, 7, 0, 0, 0, 0], Verdict::Allow),
            (libc::SYS_prlimit64, [9, 7, 0, 0, 0, 0], Verdict::Notify),
            (libc::SYS_setrlimit, [10, 0, 0, 0, 0, 0], Verdict::NotPermitted),
            (libc::SYS_socket, [1, 2, 0, 0, 0, 0], Verdict::Notify),
            (libc::SYS_socket, [2, 2, 0, 0, 0, 0], Verdict::Allow),
            (libc::SYS_socket, [40, 2, 0, 0, 0, 0], Verdict::NotPermitted),
            (libc::SYS_socketpair, [1, 2, 0, 0, 0, 0], Verdict::Notify),
            (libc::SYS_sendto, [1, 0, 0, 0, 0, 9], Verdict::Allow),
            (libc::SYS_sendto, [1, 0, 0, 0, 1 << 32, 9], Verdict::Notify),
            (libc::SYS_prctl, [15, 0, 0, 0, 0, 0], Verdict::Allow),
            (libc::SYS_prctl, [4, 0, 0, 0, 0, 0], Verdict::Notify),
            (libc::SYS_prctl, [35, 0, 0, 0, 0, 0], Verdict::NotPermitted),
            (libc::SYS_getsockopt, [0, 1, 17, 0, 0, 0], Verdict::Notify),
            (libc::SYS_getsockopt, [0, 1, 4, 0, 0, 0], Verdict::Allow),
            (libc::SYS_fcntl, [0, 8, 1, 0, 0, 0], Verdict::NotPermitted),
            (libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0], Verdict::NotPermitted),
            (libc::SYS_clone3, [0; 6], Verdict::Unknown),
            (libc::SYS_io_uring_setup, [0; 6], Verdict::Notify),
            (libc::SYS_io_uring_enter, [0; 6], Verdict::Unknown),
            (libc::SYS_read, [0; 6], Verdict::Allow),
        ] {
            assert_eq!(judge(number, arguments), expected, "{number} {arguments:?}");
        }
        let alone = program(Terms { token: TOKEN, page_end: END, network: false });
        let socket = u32::try_from(libc::SYS_socket).unwrap();
        for (family, expected) in [(1, Verdict::Notify), (16, Verdict::Allow), (2, Verdict::NotPermitted)] {
            let found = seccomp::simulate(&alone, ARCHITECTURES[0].0, socket, [family, 0, 0, 0, 0, 0]);
            assert_eq!(found, expected, "{family}");
        }
        // 32-bit programs, and numbers of the future.
        assert_eq!(seccomp::simulate(&alone, ARCHITECTURES[1].0, 5, [0; 6]), Verdict::Unknown);
        assert_eq!(judge(1000, [0; 6]), Verdict::Unknown);
        assert_eq!(judge(0x4000_0000, [0; 6]), Verdict::Unknown);
    }
}
