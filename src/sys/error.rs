//! What a failed system call leaves behind: the call, its arguments, the errno by name.

use std::fmt;
use std::io;

use nix::errno::Errno;

/// A system call that failed: `mount(proc, /state/1/rootfs/proc, type=proc): EPERM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The call and its arguments, as one would write them down.
    pub call: String,
    /// What the kernel answered.
    pub errno: Errno,
}

impl Error {
    /// Makes an error of `call` from what the kernel answered.
    pub fn new(call: impl Into<String>, errno: impl Into<Errno>) -> Self {
        Self { call: call.into(), errno: errno.into() }
    }

    /// Makes an error of `call` from the standard library's error; `EIO` where that carries no errno.
    pub fn from_io(call: impl Into<String>, error: &io::Error) -> Self {
        Self::new(call, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.call, self.errno)
    }
}

impl std::error::Error for Error {}
