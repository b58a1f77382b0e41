//! What is to run, and what became of it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::request::{Host, ResourceLimit};

/// A process to run in a root file system; nothing of the executor reaches it but what is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The command and its arguments. A command without a slash is looked up in this environment's `PATH`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub environment: Environment,
    /// The working directory, absolute inside the root file system; it must exist.
    #[serde(with = "path_bytes")]
    pub directory: PathBuf,
    /// Who it runs as.
    pub user: User,
    /// The host name it sees where the isolation can give it one of its own (`namespace`).
    pub hostname: Option<String>,
    /// Whether it holds what no other process may see: secrets, agents.
    pub confidential: bool,
    /// What is there for it, in this order, beyond `/proc`, `/sys` and `/dev`.
    pub mounts: Vec<Mount>,
    /// Which network it sees.
    pub network: Network,
    /// Names for its `/etc/hosts` (not in `container`).
    pub hosts: Vec<Host>,
    /// How much it may use.
    pub resources: Resources,
}

/// How much a process may use of what the machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The size of its `/dev/shm` in bytes (`namespace`); none means 64 MiB.
    pub shared_memory: Option<u64>,
    /// Its limits, where they differ from the executor's.
    pub limits: Vec<ResourceLimit>,
}

/// The variables of a process, with secrets among them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment(pub Vec<(OsString, OsString)>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
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

/// Something that is in the root file system for one process only; leaves no trace in it.
///
/// Where nothing can be mounted it is put in place and taken away again. What was at the target is out of the way
/// meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the root file system.
    #[serde(with = "path_bytes")]
    pub target: PathBuf,
    /// What is there.
    pub what: MountSource,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory that nobody else uses meanwhile, in [`super::Isolation::workspace`] where nothing can
    /// be mounted: it is moved to the target then, and back.
    Bind {
        /// Absolute path as the executor sees it.
        #[serde(with = "path_bytes")]
        source: PathBuf,
        /// Whether writes to it are refused, where it is mounted.
        read_only: bool,
    },
    /// A directory that others may use at the same time: not in isolations that move things.
    Shared {
        /// Absolute path as the executor sees it.
        #[serde(with = "path_bytes")]
        source: PathBuf,
        /// Whether writes to it are refused, where it is mounted.
        read_only: bool,
    },
    /// An empty directory: a file system in memory, where it can be mounted.
    Tmpfs {
        /// Limit in bytes, where it is mounted; none means the kernel's default, half of the memory.
        size: Option<u64>,
    },
    /// A small file: in memory, where it can be mounted.
    File {
        /// What is in it.
        content: Confidential,
        /// Its mode and owner.
        access: Access,
    },
}

/// Bytes that no message shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confidential(pub Vec<u8>);

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Mode and owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Access {
    /// A file of root's that everybody may read.
    pub const FILE: Self = Self { mode: 0o644, uid: 0, gid: 0 };
}

/// What an isolation can do for a process beyond running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// The isolation's name.
    pub isolation: &'static str,
    /// How [`Mount`]s are made.
    pub mounting: Mounting,
}

/// How mounts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounting {
    /// By the kernel; then there can also be a network and a `/dev` of the process's own.
    Mounted,
    /// Moved in place.
    Moved,
    /// Moved in place, beside what the container itself has mounted: its `/dev`, its `/etc/hosts`.
    MovedBeside,
}

/// A target that something of the executor's container is in the way of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle(pub PathBuf);

impl Obstacle {
    /// Tells whether it is at the target or below, and not above.
    pub fn is_below(&self, target: &Path) -> bool {
        self.0.starts_with(target)
    }
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
