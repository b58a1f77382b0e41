//! System calls, safely: mounts, namespaces, processes, signals, filters, memory.
//!
//! The only room with `unsafe`. Knows the kernel and no policy: what to mount, whom to map and what to run
//! is decided above.
//!
//! *Invariant: a failed call comes back as an [`Error`] that names the call, its arguments and the errno.*

#![expect(unsafe_code, reason = "the one room where system calls are made safe")]

pub mod control_groups;
mod error;
#[cfg(feature = "git")]
pub mod git;
pub mod landlock;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod notify;
#[cfg(target_arch = "x86_64")]
pub mod page;
pub mod process;
pub mod random;
pub mod room;
pub mod seccomp;
pub mod signal;
#[cfg(target_arch = "x86_64")]
pub mod tracee;

pub use error::Error;
