//! Processes: fork, exec, wait, identity, capabilities.
//!
//! *Invariant: [`fork`] refuses in a process with more than one thread, so that no lock is ever inherited
//! held.*

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
pub use nix::unistd::Pid;
use rustix::process::DumpableBehavior;
pub use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;

use super::Error;

/// Which side of a fork one is on.
#[derive(Clone, Copy, Debug)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the old one; the id is the child's.
    Parent(Pid),
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By exit, with this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// Makes a copy of this process. `EBUSY` when it has more than one thread.
pub fn fork() -> Result<Forked, Error> {
    // Where /proc is not there (after a chroot) the caller has seen it before: nothing here makes threads.
    if std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
        return Err(Error::new("fork() with more than one thread", Errno::EBUSY));
    }
    // SAFETY: with one thread, no lock can be held by another at this moment, so the child may do anything.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => Ok(Forked::Child),
        Ok(nix::unistd::ForkResult::Parent { child }) => Ok(Forked::Parent(child)),
        Err(errno) => Err(Error::new("fork()", errno)),
    }
}

/// Ends the process at once: nothing is flushed and no destructor runs. For the child of a fork.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

/// How often, and how far apart, a program is tried again that somebody still has open for writing.
const BUSY_TRIES: usize = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Replaces the program by the one at `path`. Returns only when that failed.
///
/// Waits a while for one that is open for writing (`ETXTBSY`): where a thread writes a program while another starts a
/// process, that process holds the file open until it executes its own (<https://go.dev/issue/22315>).
pub fn exec(path: &CStr, arguments: &[CString], environment: &[CString]) -> Error {
    let mut tries = 1;
    loop {
        let failed: Result<Infallible, Errno> = nix::unistd::execve(path, arguments, environment);
        let Err(errno) = failed;
        if errno != Errno::ETXTBSY || tries == BUSY_TRIES {
            return Error::new(format!("execve({})", path.to_string_lossy()), errno);
        }
        tries += 1;
        std::thread::sleep(BUSY_PAUSE);
    }
}

/// Replaces the program by the open file `program`. Returns only when that failed.
pub fn exec_descriptor(program: impl AsFd, arguments: &[CString], environment: &[CString]) -> Error {
    let failed: Result<Infallible, Errno> = nix::unistd::fexecve(program, arguments, environment);
    let Err(errno) = failed;
    Error::new("fexecve(own program)", errno)
}

/// Waits for a child to end.
pub fn wait_for(child: Pid) -> Result<Ended, Error> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(Ended::Exited(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ended::Signaled(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(format!("waitpid({child})"), errno)),
        }
    }
}

/// What [`reap`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// This child ended.
    Ended(Pid, Ended),
    /// There are children, and all of them run.
    Running,
    /// There is no child.
    Childless,
}

/// Takes notice of one child that has ended, without waiting for it.
pub fn reap() -> Result<Reaped, Error> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => return Ok(Reaped::Ended(pid, Ended::Exited(status))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Ok(Reaped::Ended(pid, Ended::Signaled(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) => return Ok(Reaped::Running),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(Reaped::Childless),
            Err(errno) => return Err(Error::new("waitpid(-1, WNOHANG)", errno)),
        }
    }
}

/// Takes notice of the end of one child, if it has ended; tells whether it has. No other child is touched.
pub fn has_ended(child: Pid) -> bool {
    !matches!(waitpid(child, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive))
}

/// Makes the process unreadable for others of the same user: no ptrace, no `/proc/<pid>/environ` or `mem`.
pub fn forbid_inspection() -> Result<(), Error> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::from_io("prctl(PR_SET_DUMPABLE, 0)", &errno.into()))
}

/// Makes the process readable again for others of the same user, and so for who supervises it.
#[cfg(target_arch = "x86_64")]
pub fn allow_inspection() -> Result<(), Error> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(|errno| Error::from_io("prctl(PR_SET_DUMPABLE, 1)", &errno.into()))
}

/// Asks the kernel to kill this process when its parent (the thread that made it) ends.
pub fn die_with_parent() -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|errno| Error::from_io("prctl(PR_SET_PDEATHSIG, SIGKILL)", &errno.into()))
}

/// Makes descendants whose parent ended children of this process, and not of PID 1.
pub fn adopt_orphans() -> Result<(), Error> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| Error::from_io("prctl(PR_SET_CHILD_SUBREAPER)", &errno.into()))
}

/// Makes `root` the root directory of this process, and its working directory.
pub fn change_root(root: &Path) -> Result<(), Error> {
    rustix::process::chroot(root)
        .map_err(|errno| Error::from_io(format!("chroot({})", root.display()), &errno.into()))?;
    rustix::process::chdir("/").map_err(|errno| Error::from_io("chdir(/)", &errno.into()))
}

/// Takes on numeric user, group and supplementary groups, for good.
///
/// Groups are left as they are where there are none to set and the kernel forbids setting any (a user
/// namespace with one mapped id).
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Error> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let group_ids: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    match setgroups(&group_ids) {
        Err(Errno::EPERM) if groups.is_empty() => {}
        result => result.map_err(|errno| Error::new(format!("setgroups({groups:?})"), errno))?,
    }
    let gid = Gid::from_raw(gid);
    setresgid(gid, gid, gid).map_err(|errno| Error::new(format!("setresgid({gid}, {gid}, {gid})"), errno))?;
    let uid = Uid::from_raw(uid);
    setresuid(uid, uid, uid).map_err(|errno| Error::new(format!("setresuid({uid}, {uid}, {uid})"), errno))
}

/// Returns the capabilities that are in effect for this process.
pub fn capabilities() -> CapabilitySet {
    rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Returns the capabilities that another process may use; none where /proc does not tell.
pub fn permitted(process: u32) -> Option<CapabilitySet> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let text = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    Some(CapabilitySet::from_bits_retain(u64::from_str_radix(text.trim(), 16).ok()?))
}

/// Gives this process, and what it executes, an empty session keyring of its own: the keys of whoever started it
/// are not for them. Where the system has no keyrings, or forbids their use, nothing is changed: nobody can use one.
pub fn leave_session_keyring() {
    /// Source: Linux, include/uapi/linux/keyctl.h.
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for a new keyring without a name, and the call touches no other memory.
    let _no_keys_at_all = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
}

/// Overwrites the arguments of this process, all but the program's name, where `ps` and `/proc/<pid>/cmdline` show
/// them to everybody.
///
/// To be called with one thread, when nobody reads the arguments any more.
pub fn hide_arguments() {
    // Fields 48 and 49 of proc_pid_stat(5), counted from behind the command's name, which is the second.
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let mut fields = fields.split_ascii_whitespace().skip(45).map(str::parse::<usize>);
    let (Some(Ok(start)), Some(Ok(end))) = (fields.next(), fields.next()) else { return };
    if start == 0 || end <= start {
        return;
    }
    // SAFETY: the kernel put the arguments between these addresses of our own stack, which stay mapped and writable
    // as long as the process lives; with one thread, nobody else reads or writes them meanwhile.
    let arguments =
        unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut::<u8>(start), end - start) };
    let name = arguments.iter().position(|byte| *byte == 0).unwrap_or(arguments.len());
    arguments[name..].fill(0);
}

/// Takes all capabilities but `kept` from this process and from all it will execute.
///
/// Returns whether that holds: where the process may not drop from its bounding set (without CAP_SETPCAP), a
/// root user gets back at exec what the process itself was given, unless [`forbid_new_privileges`] is called.
pub fn keep_capabilities(kept: CapabilitySet) -> Result<bool, Error> {
    let mut holds = true;
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(capability) {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) => {}
                // The kernel has no capability of this number, nor of any higher one.
                Err(rustix::io::Errno::INVAL) => break,
                Err(_) => {
                    holds = false;
                    break;
                }
            }
        }
    }
    // EINVAL is a kernel before 4.3, which has no ambient set.
    let _unknown_to_kernel = rustix::thread::clear_ambient_capability_set();
    let call = || format!("capset({kept:?})");
    let now = rustix::thread::capabilities(None).map_err(|errno| Error::from_io("capget()", &errno.into()))?;
    let sets = CapabilitySets {
        effective: now.permitted & kept,
        permitted: now.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(|errno| Error::from_io(call(), &errno.into()))?;
    Ok(holds)
}

/// Sees to it that no exec gives this process or its children a right that it has not.
pub fn forbid_new_privileges() -> Result<(), Error> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|errno| Error::from_io("prctl(PR_SET_NO_NEW_PRIVS, 1)", &errno.into()))
}

/// Returns the path below `/proc/self/fd` that a name in `/dev` for a descriptor of this process stands for, and any other
/// path as it is. By its name: what a link in `/dev` leads to is for others to change.
pub fn own_descriptor_path(path: &Path) -> PathBuf {
    let number = match path.to_str() {
        Some("/dev/stdin") => Some("0"),
        Some("/dev/stdout") => Some("1"),
        Some("/dev/stderr") => Some("2"),
        Some(text) => text.strip_prefix("/dev/fd/"),
        None => None,
    };
    number.map_or_else(|| path.to_owned(), |number| Path::new("/proc/self/fd").join(number))
}

/// Duplicates the descriptor of this process that a path in `/dev` or `/proc/self/fd` names; none for other paths.
///
/// Unlike the file that is opened by that path, it shares the place where the next byte goes.
pub fn own_descriptor(path: &Path) -> std::io::Result<Option<OwnedFd>> {
    let path = own_descriptor_path(path);
    let number = path.strip_prefix("/proc/self/fd").ok().and_then(|number| number.to_str()?.parse::<RawFd>().ok());
    let Some(number) = number.filter(|number| *number >= 0) else { return Ok(None) };
    // SAFETY: the call takes integers and touches no memory; a number that is not open gives EBADF.
    let duplicate = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    Errno::result(duplicate)?;
    // SAFETY: the call has just made this descriptor, and nobody else knows it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(duplicate) }))
}

/// Marks every descriptor from `first` on to be closed at exec.
pub fn close_on_exec_from(first: RawFd) {
    // SAFETY: the call takes three integers and touches no memory; descriptors stay open in this process.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return;
    }
    // Before Linux 5.11. All that we open has the flag; this is for what the executor itself inherited.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(65_536);
    for descriptor in first..RawFd::try_from(limit.min(65_536)).unwrap_or(1024) {
        // SAFETY: F_SETFD takes an integer and touches no memory; EBADF for unused numbers is expected.
        let _unused_number = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_program_that_somebody_still_writes_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        std::fs::copy("/bin/true", &program).unwrap();
        let mut writer = Command::new("sh");
        writer.args(["-c", "exec 3>>\"$1\" && echo && sleep 0.2", "sh"]).arg(&program).stdout(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        writer.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let path = CString::new(program.as_os_str().as_bytes()).unwrap();
        let mut command = Command::new("false");
        // SAFETY: the child only executes a program, whose arguments exist already, or sleeps.
        unsafe {
            command.pre_exec(move || Err(exec(&path, std::slice::from_ref(&path), &[]).errno.into()));
        }
        assert!(command.status().unwrap().success());
        writer.wait().unwrap();
    }
}
