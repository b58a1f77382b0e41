//! System calls, safely: mounts, namespaces, processes, signals.
//!
//! The only room with `unsafe`. Knows the kernel and no policy: what to mount, whom to map and what to run
//! is decided above.
//!
//! *Invariant: a failed call comes back as an [`Error`] that names the call, its arguments and the errno.*

mod error;

pub use error::Error;
