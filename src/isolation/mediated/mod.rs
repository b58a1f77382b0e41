//! `mediated` isolation: a private root for RUN in a pod without any right, by answering its system calls.
//!
//! RUN's processes run under a filter that hands every call with a path, an id or an owner to a supervisor, which carries
//! it out within the root, or lets the task make another call. Owners, modes and devices are data, in a table beside the
//! root. Nothing is mounted, no user is changed, no namespace is made: what it takes is a seccomp filter with a listener,
//! and the right to trace one's own children.
//!
//! The executor has the registry's credentials; the supervisor, a process of its own, has none, and no more rights than
//! RUN's processes: their user is its user.
//!
//! *Invariant: nothing that the kernel takes from a task's memory after a decision is a path or an address: the supervisor
//! makes the call itself, or the task makes it with what only the supervisor can write.*

#[cfg(any(test, fuzzing))]
mod any_calls;
mod attributes;
mod backend;
mod begin;
mod devices;
mod exec;
mod find;
mod identity;
mod kin;
mod known;
mod look;
mod machine;
mod mounts;
mod names;
mod open;
mod people;
mod probe;
mod processes;
mod rewrite;
mod signals;
mod sockets;
mod split;
mod supervisor;
mod task;
mod view;
mod walk;

#[cfg(any(test, fuzzing))]
pub use any_calls::AnyCalls;
pub(super) use backend::Mediated;
pub(super) use begin::watch_over;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::protocol::Planned;

/// The loader's question, as the first argument of prctl(2).
pub(super) const LOADER_ASKS: u32 = 0x7961_646f;

/// What a supervisor is given.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ground {
    #[serde(with = "super::process::path_bytes")]
    pub(super) root: PathBuf,
    /// A directory of the RUN's own: the table of owners is in it, and a directory for mounts.
    #[serde(with = "super::process::path_bytes")]
    pub(super) scratch: PathBuf,
    /// Where sockets are made; a short path.
    #[serde(with = "super::process::path_bytes")]
    pub(super) sockets: PathBuf,
    pub(super) mounts: Vec<Planned>,
    /// Where the supervisor's page is in tasks.
    pub(super) page: u64,
    /// Who supervisor and tasks become, where the executor may choose.
    pub(super) user: Option<(u32, u32)>,
}
