//! What the executor and `init` say to each other: one [`Spec`] down, then [`Reply`]s up, each a line of JSON.
//!
//! Both directions share one socket, which is `init`'s standard input: no descriptor beyond the three
//! standard ones has to survive exec. The end of the executor's direction means: end everything now.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Access, Confidential, Exit, Process};

/// What `init` is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// What to run.
    pub(super) process: Process,
    /// Where.
    pub(super) place: Place,
    /// The capabilities that it may have, as a bit each.
    pub(super) capabilities: u64,
}

/// The kind of isolation that `init` makes around the process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Place {
    /// New namespaces, with this root. The targets exist, and no symbolic link is on the way to them.
    Namespace {
        #[serde(with = "super::process::path_bytes")]
        root: PathBuf,
        /// What to mount, in this order, before the root is changed.
        mounts: Vec<Planned>,
        /// A directory of this RUN. In it, `memory` is an empty directory where files that are kept in memory can be mounted
        /// from, and `devices` is where devices are written down that RUN makes.
        #[serde(with = "super::process::path_bytes")]
        scratch: PathBuf,
        /// Whether the kernel makes no devices, and files stand for them.
        has_nodes: bool,
    },
    /// Only another root directory.
    Chroot {
        #[serde(with = "super::process::path_bytes")]
        root: PathBuf,
    },
    /// The root directory as it is.
    Here,
    /// A root behind a supervisor.
    #[cfg(target_arch = "x86_64")]
    Mediated(super::mediated::Ground),
}

/// Returns the file in a RUN's scratch directory where the devices are written down that it makes.
pub(super) fn devices(scratch: &Path) -> PathBuf {
    scratch.join("devices")
}

/// Returns the directory in a RUN's scratch directory where files that are kept in memory can be mounted from.
pub(super) fn memory(scratch: &Path) -> PathBuf {
    scratch.join("memory")
}

/// One thing to mount.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Planned {
    /// Where, absolute in the executor's view.
    #[serde(with = "super::process::path_bytes")]
    pub(super) target: PathBuf,
    pub(super) what: What,
}

/// What is mounted at a target.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// A fresh /proc, or the executor's where that is refused.
    Proc,
    /// The executor's /sys, read-only.
    Sys,
    /// A small /dev with the usual nodes.
    Dev {
        /// The size of /dev/shm; none means the usual one.
        shared_memory: Option<u64>,
    },
    /// A file or directory.
    Bind {
        #[serde(with = "super::process::path_bytes")]
        source: PathBuf,
        read_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs { size: Option<u64> },
    /// A file in memory, read-only.
    File { content: Confidential, access: Access },
}

/// What `init` tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The program of the process was executed.
    Ready,
    /// It could not be; the text names the call and its arguments.
    Failed(String),
    /// The working directory does not exist.
    NoDirectory,
    /// The process has ended, and all that it started is gone or about to be.
    Exited(Exit),
}

/// Writes one message.
pub(super) fn send<M: Serialize>(mut to: impl Write, message: &M) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads one message; none at the end.
pub(super) fn receive<M: for<'a> Deserialize<'a>>(from: &mut impl BufRead) -> io::Result<Option<M>> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::isolation::{Environment, Mount, MountSource, Network, Resources, User};
    use crate::request::{Host, LimitedResource, ResourceLimit};

    #[test]
    fn a_spec_survives_the_pipe_whatever_its_bytes() {
        let strange = OsString::from_vec(vec![b'a', 0xff, b'\n', b'"']);
        let spec = Spec {
            process: Process {
                argv: vec![strange.clone()],
                environment: Environment(vec![("A".into(), strange.clone())]),
                directory: PathBuf::from(strange.clone()),
                user: User { uid: 1, gid: 2, groups: vec![3] },
                hostname: Some("h".to_owned()),
                confidential: true,
                mounts: vec![Mount {
                    target: PathBuf::from(strange.clone()),
                    what: MountSource::File { content: Confidential(vec![0, 0xff]), access: Access::FILE },
                }],
                network: Network::None,
                hosts: vec![Host { name: "h".to_owned(), address: "::1".parse().unwrap() }],
                resources: Resources {
                    shared_memory: Some(u64::MAX),
                    limits: vec![ResourceLimit { resource: LimitedResource::Nofile, soft: Some(1), hard: None }],
                },
            },
            place: Place::Chroot { root: PathBuf::from(strange) },
            capabilities: u64::MAX,
        };
        let mut bytes = Vec::new();
        send(&mut bytes, &spec).unwrap();
        send(&mut bytes, &Reply::Ready).unwrap();
        let mut reader = bytes.as_slice();
        let read: Spec = receive(&mut reader).unwrap().unwrap();
        assert_eq!(read.process, spec.process);
        assert!(
            matches!((&read.place, &spec.place), (Place::Chroot { root }, Place::Chroot { root: sent }) if root == sent)
        );
        assert_eq!(receive::<Reply>(&mut reader).unwrap(), Some(Reply::Ready));
        assert_eq!(receive::<Reply>(&mut reader).unwrap(), None);
    }
}
