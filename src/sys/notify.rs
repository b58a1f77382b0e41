//! System calls that another process answers: the kernel's seccomp user notification.
//!
//! Knows the listener of a filter and what can be said through it. Does not know which calls come, nor what they mean.
//! Source: seccomp_unotify(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::Error;
use super::seccomp::{Instruction, with_program};

/// The end of a filter where calls arrive.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    /// What the kernel calls it.
    pub id: u64,
    /// The thread that makes it, by its number in our own pid namespace.
    pub task: i32,
    /// The call's number.
    pub number: i64,
    /// The address behind the instruction that made the call.
    pub instruction: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// Source: linux/seccomp.h (since Linux 6.6): the task and whoever answers it run on one processor.
const SYNC_WAKE_UP: u64 = 1;
/// `_IOW('!', 4, u64)`. Source: linux/seccomp.h.
const SET_FLAGS: libc::Ioctl = 0x4008_2104_u32 as libc::Ioctl;

/// Installs a program for this thread and all that it starts, for good, and sends the listener where its notified calls
/// arrive through `socket`. The process must have CAP_SYS_ADMIN in its user namespace, or have forbidden itself new
/// privileges. The message that carries the listener
/// has `token` as its last argument, by which the program allows it.
///
/// A call that was received is no longer interrupted by signals that do not kill (Linux 5.19 and newer).
pub fn install_and_send(program: &[Instruction], socket: BorrowedFd<'_>, token: u64) -> Result<(), Error> {
    let listener = install(program)?;
    let mut byte = [0_u8];
    let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // A header of 16 bytes and one number, as CMSG_SPACE has it.
    let mut control = [0_u64; 3];
    // SAFETY: all bits zero is a valid value of this structure.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the control buffer has room for one header and one descriptor.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = usize::try_from(libc::CMSG_LEN(4)).unwrap_or_default();
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(listener.0.as_raw_fd());
    }
    // SAFETY: the message points to buffers that live until the call returns.
    let sent = unsafe {
        libc::syscall(libc::SYS_sendmsg, socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL, 0, 0, token)
    };
    Errno::result(sent).map(drop).map_err(|errno| Error::new("sendmsg(listener)", errno))
}

/// Receives the listener that [`install_and_send`] sends.
pub fn receive_listener(socket: &std::os::unix::net::UnixStream) -> Result<Listener, Error> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut byte = [0];
    let mut vectors = [std::io::IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let failed = |errno| Error::new("recvmsg(listener)", errno);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut control), flags).map_err(failed)?;
    let number = message.cmsgs().map_err(failed)?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
        _ => None,
    });
    let number = number.ok_or_else(|| failed(Errno::ENODATA))?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(Listener(unsafe { OwnedFd::from_raw_fd(number) }))
}

fn install(program: &[Instruction]) -> Result<Listener, Error> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let number = with_program(program, |program| {
        // SAFETY: the program points to as many live words as it says, and the kernel only reads them.
        let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, program) };
        Errno::result(result).map_err(|errno| Error::new("seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)", errno))
    })?;
    let number = RawFd::try_from(number).map_err(|_| Error::new("seccomp(listener)", Errno::EBADF))?;
    // SAFETY: the call has just made this descriptor, and nobody else knows it.
    Ok(Listener(unsafe { OwnedFd::from_raw_fd(number) }))
}

impl Listener {
    /// Makes one that no call arrives at, of a file that is none.
    #[cfg(any(test, fuzzing))]
    pub fn of_nobody(file: OwnedFd) -> Self {
        Self(file)
    }

    /// Asks for the two processes to be on one processor while they talk; a kernel that cannot goes on as before.
    pub fn stay_close(&self) {
        // SAFETY: the argument is a number, and the call touches no memory.
        let _slower_then = unsafe { libc::ioctl(self.0.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
    }

    /// Waits for a call; none where whoever made it is gone already.
    pub fn receive(&self) -> Result<Option<Notification>, Error> {
        // SAFETY: all bits zero is a valid value of this structure of integers, and what the kernel asks for.
        let mut found: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one such structure to where the pointer leads.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut found) };
        match Errno::result(result) {
            Ok(_) => Ok(Some(Notification {
                id: found.id,
                task: i32::try_from(found.pid).unwrap_or_default(),
                number: found.data.nr.into(),
                instruction: found.data.instruction_pointer,
                arguments: found.data.args,
            })),
            Err(Errno::ENOENT | Errno::EINTR) => Ok(None),
            Err(errno) => Err(Error::new("ioctl(SECCOMP_IOCTL_NOTIF_RECV)", errno)),
        }
    }

    /// Answers a call. That whoever made it is gone is no error.
    pub fn answer(&self, id: u64, result: Result<i64, i32>) {
        let (value, error) = match result {
            Ok(value) => (value, 0),
            Err(errno) => (0, -errno),
        };
        self.send(&libc::seccomp_notif_resp { id, val: value, error, flags: 0 });
    }

    /// Lets the kernel carry the call out as it stands.
    pub fn proceed(&self, id: u64) {
        let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1);
        self.send(&libc::seccomp_notif_resp { id, val: 0, error: 0, flags });
    }

    fn send(&self, answer: &libc::seccomp_notif_resp) {
        // SAFETY: the kernel only reads the structure that the pointer leads to.
        let _gone_already =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, std::ptr::from_ref(answer)) };
    }

    /// Gives the caller a descriptor, and answers the call with its number.
    pub fn hand_over(&self, id: u64, descriptor: BorrowedFd<'_>, close_on_exec: bool) -> Result<(), Errno> {
        let flags = libc::SECCOMP_ADDFD_FLAG_SEND;
        self.add(id, descriptor, close_on_exec, u32::try_from(flags).unwrap_or(2)).map(drop)
    }

    /// Gives the caller a descriptor and returns its number; the call still waits.
    pub fn insert(&self, id: u64, descriptor: BorrowedFd<'_>, close_on_exec: bool) -> Result<RawFd, Errno> {
        self.add(id, descriptor, close_on_exec, 0)
    }

    fn add(&self, id: u64, descriptor: BorrowedFd<'_>, close_on_exec: bool, flags: u32) -> Result<RawFd, Errno> {
        let request = libc::seccomp_notif_addfd {
            id,
            flags,
            srcfd: u32::try_from(descriptor.as_raw_fd()).map_err(|_| Errno::EBADF)?,
            newfd: 0,
            newfd_flags: if close_on_exec { libc::O_CLOEXEC.unsigned_abs() } else { 0 },
        };
        // SAFETY: the kernel only reads the structure that the pointer leads to.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, std::ptr::from_ref(&request)) };
        Errno::result(result)
    }

    /// Tells whether the call still waits: whoever made it may have been killed, and its number be another's.
    pub fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: the kernel only reads the number that the pointer leads to.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, std::ptr::from_ref(&id)) };
        result == 0
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
