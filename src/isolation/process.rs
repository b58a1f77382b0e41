//! What is to run, and what became of it.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A process to run in a root file system; nothing of the executor reaches it but what is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The command and its arguments. A command without a slash is looked up in this environment's `PATH`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The working directory, absolute inside the root file system; it must exist.
    #[serde(with = "path_bytes")]
    pub directory: PathBuf,
    /// Who it runs as.
    pub user: User,
    /// The host name it sees where the isolation can give it one of its own (`namespace`).
    pub hostname: Option<String>,
    /// What is mounted for it, in this order, beyond `/proc`, `/sys` and `/dev` (`namespace`).
    pub mounts: Vec<Mount>,
    /// Which network it sees.
    pub network: Network,
}

/// Numeric user, group and supplementary groups of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// Something mounted into the root file system for one process only; leaves no trace in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A file or directory of the executor's own view.
    Bind {
        /// Absolute path as the executor sees it.
        #[serde(with = "path_bytes")]
        source: PathBuf,
        /// Absolute path inside the root file system.
        #[serde(with = "path_bytes")]
        target: PathBuf,
        /// Whether writes to it are refused.
        read_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Absolute path inside the root file system.
        #[serde(with = "path_bytes")]
        target: PathBuf,
        /// Limit in bytes; none means the kernel's default, half of the memory.
        size: Option<u64>,
    },
}

/// Which network a process sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The executor's.
    #[default]
    Host,
    /// Only a loopback device of its own (`namespace`).
    None,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
}

/// Paths as their bytes: serde would refuse those that are not UTF-8.
pub(super) mod path_bytes {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(serializer)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<PathBuf, D::Error> {
        OsString::deserialize(deserializer).map(PathBuf::from)
    }
}
