//! What RUN gets beyond what its instruction says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::oci::Reference;

/// What all RUNs get beyond what their instructions say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSettings {
    /// Which network RUN sees, unless it says so itself.
    pub network: RunNetwork,
    /// Names for `/etc/hosts`.
    pub hosts: Vec<Host>,
    /// The size of `/dev/shm` in bytes; none means 64 MiB.
    pub shared_memory: Option<u64>,
    /// Resource limits that differ from the executor's.
    pub limits: Vec<ResourceLimit>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The ids of those that were given one by one, and so are meant for a RUN.
    pub asked: BTreeSet<String>,
    /// SSH agents by id: a socket, or the files of keys.
    pub agents: BTreeMap<String, Vec<PathBuf>>,
    /// Where cache mounts last.
    pub caches: CacheMounts,
}

/// Which network a RUN sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RunNetwork {
    /// The executor's.
    #[default]
    Host,
    /// None but loopback.
    None,
}

/// A name and its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The name.
    pub name: String,
    /// The address.
    pub address: IpAddr,
}

/// A resource of a process, and how much of it there may be; none means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// What is limited.
    pub resource: LimitedResource,
    /// The limit that counts; the process may raise it.
    pub soft: Option<u64>,
    /// How far it may.
    pub hard: Option<u64>,
}

/// What can be limited, by the names of setrlimit(2).
#[expect(missing_docs, reason = "setrlimit(2) tells what each is")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitedResource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file of the executor's.
    File(PathBuf),
    /// Its value, from the executor's environment.
    Value(String),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// Where cache mounts last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheMounts {
    /// A directory that builds share; without it and a repository they last for this build only.
    pub directory: Option<PathBuf>,
    /// The repository that they are brought from, and kept in, instead.
    pub repository: Option<Reference>,
    /// How many bytes may be in the directory after a build: the ones that were not used for the longest time go first.
    /// In a repository, how many each may have.
    pub max_size: Option<u64>,
    /// After how many seconds without use one is removed; in a repository, without a change, one begins anew.
    pub max_age: Option<u64>,
}
