//! Other processes: their memory, their limits, and a system call that they are made to make.
//!
//! Knows ptrace(2), process_vm_readv(2) and prlimit(2). Does not know why a process is traced. Only for x86-64, whose
//! registers it names.

use std::io::{IoSlice, IoSliceMut};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::process::Pid;

/// Reads memory of a process; how much there was.
pub fn read(task: Pid, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let remote = RemoteIoVec { base: usize::try_from(address).map_err(|_| Errno::EFAULT)?, len: into.len() };
    process_vm_readv(task, &mut [IoSliceMut::new(into)], &[remote])
}

/// Writes memory of a process; how much there was room for.
pub fn write(task: Pid, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let remote = RemoteIoVec { base: usize::try_from(address).map_err(|_| Errno::EFAULT)?, len: bytes.len() };
    process_vm_writev(task, &[IoSlice::new(bytes)], &[remote])
}

/// Returns the soft limit of the number of locks of a process, which no kernel has heeded since 2.4.
pub fn spare_limit(task: Pid) -> Result<u64, Errno> {
    let mut found = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one such structure to where the pointer leads, and reads none.
    let result = unsafe { libc::prlimit64(task.as_raw(), libc::RLIMIT_LOCKS, std::ptr::null(), &raw mut found) };
    Errno::result(result)?;
    Ok(found.rlim_cur)
}

/// Sets that limit, and no hard one.
pub fn set_spare_limit(task: Pid, value: u64) -> Result<(), Errno> {
    let wanted = libc::rlimit64 { rlim_cur: value, rlim_max: libc::RLIM64_INFINITY };
    // SAFETY: the kernel reads one such structure from where the pointer leads, and writes none.
    let result = unsafe { libc::prlimit64(task.as_raw(), libc::RLIMIT_LOCKS, &raw const wanted, std::ptr::null_mut()) };
    Errno::result(result).map(drop)
}

/// The registers of a stopped task.
#[derive(Clone, Copy, Debug)]
pub struct Registers(libc::user_regs_struct);

/// The length of the instruction that makes a system call.
const CALL_LENGTH: u64 = 2;

impl Registers {
    /// Returns these with the instruction pointer before the call once more, and another call in them.
    #[must_use]
    pub fn calling(mut self, number: u64, arguments: [u64; 6]) -> Self {
        let registers = &mut self.0;
        registers.rip -= CALL_LENGTH;
        registers.rax = number;
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
        self
    }

    /// Returns these as they are after the call that they were about, with this result.
    #[must_use]
    pub fn returning(mut self, result: i64) -> Self {
        self.0.rax = result.cast_unsigned();
        self
    }

    /// Returns what the call has returned.
    pub fn result(&self) -> i64 {
        self.0.rax.cast_signed()
    }
}

/// What a traced task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It stands at the beginning or the end of a system call.
    Call,
    /// It stands because it was asked to.
    Asked,
    /// It stands because this signal has come.
    Signal(i32),
    /// It is gone.
    Gone,
}

/// Makes this thread the tracer of a task, and asks it to stop.
pub fn seize(task: Pid) -> Result<(), Errno> {
    ptrace::seize(task, ptrace::Options::PTRACE_O_TRACESYSGOOD)?;
    ptrace::interrupt(task)
}

/// Waits for the next event of a traced task.
pub fn wait(task: Pid) -> Result<Event, Errno> {
    loop {
        match waitpid(task, Some(WaitPidFlag::__WALL)) {
            Ok(status) => return Ok(event(status)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Says what a status of a traced task means.
pub fn event(status: WaitStatus) -> Event {
    match status {
        WaitStatus::PtraceSyscall(_) => Event::Call,
        WaitStatus::PtraceEvent(..) => Event::Asked,
        WaitStatus::Stopped(_, signal) => Event::Signal(signal as i32),
        _ => Event::Gone,
    }
}

/// Reads the registers of a stopped task.
pub fn registers(task: Pid) -> Result<Registers, Errno> {
    ptrace::getregs(task).map(Registers)
}

/// Sets the registers of a stopped task.
pub fn set_registers(task: Pid, registers: Registers) -> Result<(), Errno> {
    ptrace::setregs(task, registers.0)
}

/// Lets a stopped task go on to the beginning or the end of a system call; with a signal, if it stood for one.
pub fn go_on(task: Pid, signal: Option<i32>) -> Result<(), Errno> {
    ptrace::syscall(task, signal.and_then(|signal| Signal::try_from(signal).ok()))
}

/// Lets a stopped task go.
pub fn release(task: Pid, signal: Option<i32>) -> Result<(), Errno> {
    ptrace::detach(task, signal.and_then(|signal| Signal::try_from(signal).ok()))
}

/// A structure of the kernel's that is all integers: its bytes can be copied to and from other processes.
pub trait Plain: Copy {
    /// Returns the structure's bytes.
    fn bytes(&self) -> &[u8];
}

macro_rules! plain {
    ($($kind:ty),*) => {
        $(impl Plain for $kind {
            fn bytes(&self) -> &[u8] {
                // SAFETY: the structure is laid out as in C, of integers that leave no gap, and lives as long as the bytes.
                unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
            }
        })*
    };
}

plain!(rustix::fs::Stat, rustix::fs::Statx, rustix::fs::StatFs);
