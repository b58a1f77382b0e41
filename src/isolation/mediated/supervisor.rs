//! The supervisor of one RUN: it receives the calls of RUN's processes and answers them.
//!
//! One thread does all but wait for the other end of a pipe; a call takes some microseconds, and two threads on the same
//! table were slower in measurements.
//!
//! *Invariant: each notification is answered once: by its handler's outcome, or later by whoever the handler has left it to.*

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::exec::Loader;
use super::look::Look;
use super::open::Wanted;
use super::rewrite::{Pages, Rewritten};
use super::sockets::Sockets;
use super::task::{Call, number};
use super::view::{Start, View};
use crate::isolation::filter::mediated::{PRCTL, TOLD};
use crate::sys::notify::{Listener, Notification};
use crate::sys::process::Pid;

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Answer {
    Value(i64),
    Descriptor {
        descriptor: OwnedFd,
        close_on_exec: bool,
    },
    /// The kernel carries it out.
    Proceed,
    /// Somebody else has answered it, or will.
    Later,
}

pub(super) type Outcome = Result<Answer, Errno>;

/// All that answering needs.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) listener: Arc<Listener>,
    pub(super) view: View,
    pub(super) pages: Pages,
    pub(super) loader: Loader,
    pub(super) sockets: Sockets,
    pub(super) rewritten: HashMap<i32, Rewritten>,
    /// Terminals that RUN has opened.
    pub(super) terminals: BTreeSet<u32>,
    /// What marks calls that the kernel carries out for us.
    pub(super) token: u64,
    /// Calls that were refused for what they are, and how often.
    pub(super) refused: BTreeMap<&'static str, u64>,
}

/// What of it there is before the first call can come.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) view: View,
    pub(super) pages: Pages,
    pub(super) loader: Loader,
    pub(super) sockets: Sockets,
    pub(super) token: u64,
}

impl Supervisor {
    /// Begins to answer the calls that arrive at a listener.
    pub(super) fn new(listener: Listener, prepared: Prepared) -> Self {
        let Prepared { view, pages, loader, sockets, token } = prepared;
        let (rewritten, terminals, refused) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { listener: Arc::new(listener), view, pages, loader, sockets, rewritten, terminals, token, refused }
    }

    /// Receives one call and answers it.
    pub(super) fn serve(&mut self) -> Result<(), crate::sys::Error> {
        let Some(notification) = self.listener.receive()? else { return Ok(()) };
        let outcome = self.call_of(&notification).and_then(|call| {
            self.view.caller.set(notification.task);
            self.answer(&call)
        });
        let id = notification.id;
        match outcome {
            Ok(Answer::Value(value)) => self.listener.answer(id, Ok(value)),
            Ok(Answer::Descriptor { descriptor, close_on_exec }) => {
                if let Err(failed) = self.listener.hand_over(id, descriptor.as_fd(), close_on_exec) {
                    self.listener.answer(id, Err(failed as i32));
                }
            }
            Ok(Answer::Proceed) => self.listener.proceed(id),
            Ok(Answer::Later) => {}
            Err(errno) => self.listener.answer(id, Err(errno.raw_os_error())),
        }
        Ok(())
    }

    fn call_of(&self, notification: &Notification) -> Result<Call, Errno> {
        let people = self.view.people.borrow();
        let label = people.label(Pid::from_raw(notification.task))?;
        Ok(Call::new(notification, label, people.who(label)))
    }

    /// Returns where a path begins that is relative to a descriptor.
    pub(super) fn start(&self, call: &Call, descriptor: i32) -> Start {
        let task = call.task.as_raw();
        if descriptor == libc::AT_FDCWD { Start::Directory(task) } else { Start::Descriptor(task, descriptor) }
    }

    pub(super) fn answer(&mut self, call: &Call) -> Outcome {
        let here = Start::Directory(call.task.as_raw());
        let first = self.start(call, call.int(0));
        let (a, b, c) = (call.argument(0), call.argument(1), call.argument(2));
        match call.number {
            libc::SYS_openat => self.open(call, &first, b, Wanted::new(call.unsigned(2), call.unsigned(3))),
            libc::SYS_open => self.open(call, &here, a, Wanted::new(call.unsigned(1), call.unsigned(2))),
            libc::SYS_creat => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
                self.open(call, &here, a, Wanted::new(flags.bits(), call.unsigned(1)))
            }
            libc::SYS_openat2 => {
                let how = call.read(c, 24)?;
                let word = |index: usize| number(&how, index * 8, 8);
                if word(2) != 0 {
                    return Err(Errno::NOSYS);
                }
                let low = |value: u64| u32::try_from(value).map_err(|_| Errno::INVAL);
                self.open(call, &first, b, Wanted::new(low(word(0))?, low(word(1))?))
            }
            libc::SYS_fstat => self.stat(call, &first, Look::itself(), b),
            libc::SYS_stat => self.stat(call, &here, Look::following(a), b),
            libc::SYS_lstat => self.stat(call, &here, Look::at_link(a), b),
            libc::SYS_newfstatat => self.stat(call, &first, Look::with(b, call.unsigned(3)), c),
            libc::SYS_statx => self.statx(call),
            libc::SYS_access => self.access(call, &here, Look::following(a), [call.unsigned(1), 0]),
            libc::SYS_faccessat => self.access(call, &first, Look::following(b), [call.unsigned(2), 0]),
            libc::SYS_faccessat2 => {
                let flags = call.unsigned(3);
                self.access(call, &first, Look::with(b, flags), [call.unsigned(2), flags])
            }
            libc::SYS_readlink => self.read_link(call, &here, a, [b, c]),
            libc::SYS_readlinkat => self.read_link(call, &first, b, [c, call.argument(3)]),
            libc::SYS_statfs => self.statfs(call),
            libc::SYS_getcwd => self.working_directory(call),
            libc::SYS_chdir => self.change_directory(call),
            libc::SYS_execve => self.execute(call, &here, a, [b, c], false),
            libc::SYS_execveat => {
                let itself = call.unsigned(4) & libc::AT_EMPTY_PATH.unsigned_abs() != 0;
                self.execute(call, &first, b, [c, call.argument(3)], itself)
            }
            _ => self.answer_changes(call, &here, &first),
        }
    }

    /// Answers calls that make, remove or change files.
    fn answer_changes(&mut self, call: &Call, here: &Start, first: &Start) -> Outcome {
        let (a, b, c) = (call.argument(0), call.argument(1), call.argument(2));
        let third = || self.start(call, call.int(2));
        match call.number {
            libc::SYS_mkdir => self.make_directory(call, here, a, call.unsigned(1)),
            libc::SYS_mkdirat => self.make_directory(call, first, b, call.unsigned(2)),
            libc::SYS_mknod => self.make_node(call, here, a, [call.unsigned(1), call.unsigned(2)]),
            libc::SYS_mknodat => self.make_node(call, first, b, [call.unsigned(2), call.unsigned(3)]),
            libc::SYS_symlink => self.make_link(call, a, here, b),
            libc::SYS_symlinkat => self.make_link(call, a, &self.start(call, call.int(1)), c),
            libc::SYS_link => {
                let old = self.find(call, &call.who, here, Look::at_link(a))?;
                self.link(call, &old, here, b)
            }
            libc::SYS_linkat => {
                let flags = call.unsigned(4);
                let follow = flags & libc::AT_SYMLINK_FOLLOW.unsigned_abs() != 0;
                let look = Look { follow, ..Look::with(b, flags) };
                let old = self.find(call, &call.who, first, look)?;
                self.link(call, &old, &third(), call.argument(3))
            }
            libc::SYS_unlink => self.unlink(call, here, a, false),
            libc::SYS_rmdir => self.unlink(call, here, a, true),
            libc::SYS_unlinkat => {
                let directory = call.unsigned(2) & libc::AT_REMOVEDIR.unsigned_abs() != 0;
                self.unlink(call, first, b, directory)
            }
            libc::SYS_rename => self.rename(call, [here, here], [a, b], 0),
            libc::SYS_renameat => self.rename(call, [first, &third()], [b, call.argument(3)], 0),
            libc::SYS_renameat2 => self.rename(call, [first, &third()], [b, call.argument(3)], call.unsigned(4)),
            _ => self.answer_attributes(call, here, first),
        }
    }

    /// Answers calls about what is told of a file.
    fn answer_attributes(&mut self, call: &Call, here: &Start, first: &Start) -> Outcome {
        let (a, b) = (call.argument(0), call.argument(1));
        let (second, third) = (call.unsigned(1), call.unsigned(2));
        match call.number {
            libc::SYS_chown => self.chown(call, here, Look::following(a), [second, third]),
            libc::SYS_lchown => self.chown(call, here, Look::at_link(a), [second, third]),
            libc::SYS_fchown => self.chown(call, first, Look::opened(), [second, third]),
            libc::SYS_fchownat => self.chown(call, first, Look::with(b, call.unsigned(4)), [third, call.unsigned(3)]),
            libc::SYS_chmod => self.chmod(call, here, Look::following(a), second),
            libc::SYS_fchmod => self.chmod(call, first, Look::opened(), second),
            libc::SYS_fchmodat => self.chmod(call, first, Look::following(b), third),
            libc::SYS_fchmodat2 => self.chmod(call, first, Look::with(b, call.unsigned(3)), third),
            libc::SYS_utimensat => {
                let times = read_times(call, call.argument(2), 1)?;
                let look = if b == 0 { Look::opened() } else { Look::with(b, call.unsigned(3)) };
                self.set_times(call, first, look, times)
            }
            libc::SYS_utimes => self.set_times(call, here, Look::following(a), read_times(call, b, 1000)?),
            libc::SYS_futimesat => {
                self.set_times(call, first, Look::following(b), read_times(call, call.argument(2), 1000)?)
            }
            libc::SYS_utime => self.set_times(call, here, Look::following(a), read_seconds(call, b)?),
            libc::SYS_truncate => self.truncate(call),
            libc::SYS_setxattr => self.set_attribute(call, here, Look::following(a)),
            libc::SYS_lsetxattr => self.set_attribute(call, here, Look::at_link(a)),
            libc::SYS_fsetxattr => self.set_attribute(call, first, Look::opened()),
            libc::SYS_getxattr => self.get_attribute(call, here, Look::following(a)),
            libc::SYS_lgetxattr => self.get_attribute(call, here, Look::at_link(a)),
            libc::SYS_fgetxattr => self.get_attribute(call, first, Look::opened()),
            libc::SYS_listxattr => self.list_attributes(call, here, Look::following(a)),
            libc::SYS_llistxattr => self.list_attributes(call, here, Look::at_link(a)),
            libc::SYS_flistxattr => self.list_attributes(call, first, Look::opened()),
            libc::SYS_removexattr => self.remove_attribute(call, here, Look::following(a)),
            libc::SYS_lremovexattr => self.remove_attribute(call, here, Look::at_link(a)),
            libc::SYS_fremovexattr => self.remove_attribute(call, first, Look::opened()),
            _ => self.answer_others(call),
        }
    }

    /// Answers calls that are not about files.
    fn answer_others(&mut self, call: &Call) -> Outcome {
        match call.number {
            libc::SYS_umask => self.umask(call),
            libc::SYS_capget => self.tell_capabilities(call),
            libc::SYS_capset => self.set_capabilities(call),
            libc::SYS_prctl if PRCTL.contains(&call.unsigned(0)) => self.rights(call),
            libc::SYS_kill
            | libc::SYS_tkill
            | libc::SYS_tgkill
            | libc::SYS_rt_sigqueueinfo
            | libc::SYS_rt_tgsigqueueinfo => self.signal(call),
            libc::SYS_setpriority | libc::SYS_ioprio_set => self.set_priority(call),
            libc::SYS_prlimit64 => self.limits(call),
            libc::SYS_pidfd_open
            | libc::SYS_sched_setaffinity
            | libc::SYS_sched_setattr
            | libc::SYS_sched_setparam
            | libc::SYS_sched_setscheduler
            | libc::SYS_getpgid
            | libc::SYS_getsid => Self::about_process(call.int(0)),
            libc::SYS_mmap => self.map_page(call),
            libc::SYS_socket | libc::SYS_socketpair => self.new_socket(call),
            libc::SYS_connect => self.connect(call),
            libc::SYS_bind => self.bind(call),
            libc::SYS_sendto => self.send_to(call),
            libc::SYS_sendmsg | libc::SYS_sendmmsg => self.send_message(call),
            libc::SYS_getsockname | libc::SYS_getpeername => self.socket_name(call),
            libc::SYS_getsockopt => self.peer(call),
            libc::SYS_memfd_create => self.memory_file(call),
            libc::SYS_chroot => self.change_root(call),
            libc::SYS_setfsuid | libc::SYS_setfsgid => self.identity(call),
            libc::SYS_getuid..=libc::SYS_getresgid => self.identity(call),
            libc::SYS_inotify_add_watch => self.watch(call),
            number => self.refuse(number),
        }
    }

    /// Refuses a call for what it is, and counts those that a failed RUN is to be told of.
    fn refuse(&mut self, number: i64) -> Outcome {
        let told = TOLD.iter().find(|(told, ..)| *told == number);
        let Some((_, name, errno)) = told else { return Err(Errno::NOSYS) };
        *self.refused.entry(name).or_default() += 1;
        Err(Errno::from_raw_os_error(*errno))
    }

    /// memfd_create(2): never one that the kernel would execute by itself.
    fn memory_file(&self, call: &Call) -> Outcome {
        let name = call.read_text(call.argument(0), 250, Errno::INVAL)?;
        // MFD_NOEXEC_SEAL, MFD_EXEC: since Linux 6.3.
        let flags = rustix::fs::MemfdFlags::from_bits_retain(call.unsigned(1)).difference(rustix::fs::MemfdFlags::EXEC);
        let sealed = flags | rustix::fs::MemfdFlags::NOEXEC_SEAL;
        let make = |flags| rustix::fs::memfd_create(name.as_slice(), flags | rustix::fs::MemfdFlags::CLOEXEC);
        let descriptor = make(sealed).or_else(|_| make(flags))?;
        Ok(Answer::Descriptor { descriptor, close_on_exec: flags.contains(rustix::fs::MemfdFlags::CLOEXEC) })
    }
}

/// Reads two times, whose fractions are so many nanoseconds; none means now.
fn read_times(call: &Call, address: u64, unit: i64) -> Result<Option<Timestamps>, Errno> {
    if address == 0 {
        return Ok(None);
    }
    let time = |at: u64| -> Result<Timespec, Errno> {
        let seconds = call.read_u64(at)?.cast_signed();
        let fraction = call.read_u64(at + 8)?.cast_signed();
        if unit != 1 && !(0..1_000_000).contains(&fraction) {
            return Err(Errno::INVAL);
        }
        Ok(Timespec { tv_sec: seconds, tv_nsec: fraction.wrapping_mul(unit) })
    };
    Ok(Some(Timestamps { last_access: time(address)?, last_modification: time(address + 16)? }))
}

fn read_seconds(call: &Call, address: u64) -> Result<Option<Timestamps>, Errno> {
    if address == 0 {
        return Ok(None);
    }
    let time =
        |at: u64| -> Result<Timespec, Errno> { Ok(Timespec { tv_sec: call.read_u64(at)?.cast_signed(), tv_nsec: 0 }) };
    Ok(Some(Timestamps { last_access: time(address)?, last_modification: time(address + 8)? }))
}

pub(super) fn errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
