//! Signals of the calling process: blocking them, waiting for them, giving them back their defaults.

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::Error;

/// A signal that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// Whether the kernel sent it (Ctrl-C at a terminal) and not a process.
    pub from_kernel: bool,
    /// The process that sent it; none for the kernel, and for a process outside this pid namespace.
    pub sender: Option<Pid>,
}

/// The signals whose default action ends a process and that it may keep from doing so, but for those of its own
/// faults. Real-time signals are not among them.
pub fn ending() -> SigSet {
    use Signal::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGPWR, SIGQUIT, SIGSTKFLT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM,
    };
    let all =
        [SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGPWR, SIGQUIT, SIGSTKFLT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM];
    all.into_iter().collect()
}

/// Tells whether the process ignores a signal, as `nohup` has it for SIGHUP.
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all-zero bytes are a valid `sigaction`, a struct of integers and of a pointer that may be null.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set, and the old action is written to a live value of the type that the call names.
    let result = unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut now) };
    result == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Makes signals about children something that can be waited for with others.
///
/// # Errors
/// When they cannot be blocked, or a descriptor cannot be had.
pub fn news_of_children() -> Result<SignalFd, Error> {
    let news: SigSet = std::iter::once(Signal::SIGCHLD).collect();
    block(&news)?;
    SignalFd::with_flags(&news, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| Error::new("signalfd4(SIGCHLD)", errno))
}

/// Blocks `signals` for the calling thread, and returns what was blocked before.
pub fn block(signals: &SigSet) -> Result<SigSet, Error> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(signals), Some(&mut before))
        .map_err(|errno| Error::new("sigprocmask(SIG_BLOCK)", errno))?;
    Ok(before)
}

/// Sets which signals are blocked for the calling thread.
pub fn set_blocked(signals: &SigSet) -> Result<(), Error> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(signals), None)
        .map_err(|errno| Error::new("sigprocmask(SIG_SETMASK)", errno))
}

/// Waits for one of the blocked `signals`; none when the wait was broken off for no reason of ours.
pub fn wait(signals: &SigSet) -> Result<Option<Received>, Error> {
    // SAFETY: all-zero bytes are a valid `siginfo_t`, which holds no references.
    let mut information: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the types that the call names.
    let number = unsafe { libc::sigwaitinfo(signals.as_ref(), &raw mut information) };
    match Errno::result(number) {
        Ok(number) => {
            // SAFETY: `si_pid` is there for every signal that a process sent; else it is some number, which is not used.
            let sender = unsafe { information.si_pid() };
            let by_process = matches!(information.si_code, libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL);
            let sender = Some(sender).filter(|sender| by_process && *sender > 0).map(Pid::from_raw);
            let from_kernel = information.si_code == libc::SI_KERNEL;
            Ok(Signal::try_from(number).ok().map(|signal| Received { signal, from_kernel, sender }))
        }
        Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(Error::new("sigwaitinfo()", errno)),
    }
}

/// Gives every signal its default action and blocks none, as a new program expects.
///
/// The standard library ignores SIGPIPE, and an ignored signal stays ignored over exec.
pub fn reset() -> Result<(), Error> {
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: the default action runs no code of this process.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }
            .map_err(|errno| Error::new(format!("signal({signal}, SIG_DFL)"), errno))?;
    }
    set_blocked(&SigSet::empty())
}
