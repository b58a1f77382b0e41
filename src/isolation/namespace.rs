//! `namespace` isolation: private root file systems, and for each RUN mount, pid, ipc and uts namespaces of
//! its own inside the executor's user namespace.
//!
//! *Invariant: RUN sees its root file system and what [`Process`] names, and nothing else of the executor.*

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directories::{Directories, files};
use super::enter::Inside;
use super::ids::Ids;
use super::planned::plan;
use super::protocol::{self, Place, Spec};
use super::stubs::Stubs;
use super::supervise::supervise;
use super::turns::Turns;
use super::{Abilities, Cancel, Capacity, Error, Exit, HostFiles, Isolation, Mounting, Process, Stream, rights};
use super::{mknod, nodes, ports};
use crate::rootfs::{self, Nodes, Rootfs, Tree, born};

/// The backend.
#[derive(Debug)]
pub(super) struct Namespace {
    directories: Directories,
    inside: Inside,
    host_files: HostFiles,
    turns: Turns,
    cancel: Cancel,
    /// Devices that the kernel makes none of here.
    nodes: Arc<Nodes>,
}

impl Namespace {
    /// Prepares for root file systems below `state`; touches nothing yet.
    pub(super) fn new(state: &Path, inside: Inside, host_files: HostFiles, cancel: Cancel) -> Self {
        Self {
            directories: Directories::new(state),
            inside,
            host_files,
            turns: Turns::default(),
            cancel,
            nodes: Arc::default(),
        }
    }

    /// Tells whether devices in the directory at `path` are files that stand for them.
    fn has_nodes(&self, path: &Path) -> bool {
        let directory = fs::File::open(path);
        self.inside.ids != Ids::Own
            && directory.is_ok_and(|directory| born(directory.as_fd(), OsStr::new("")).is_some())
    }

    /// Returns the process as it can be in a namespace with these ids.
    fn fit(&self, process: &Process) -> Result<Process, Error> {
        let mut process = process.clone();
        if self.inside.ids == Ids::Single {
            if process.user.uid != 0 || process.user.gid != 0 {
                return Err(Error::Refused {
                    wanted: "namespace",
                    reason: format!(
                        "RUN as {}:{} needs that id, and only the id 0 exists in this user namespace",
                        process.user.uid, process.user.gid
                    ),
                    remedy: super::remedy::IDS.to_owned(),
                });
            }
            process.user.groups.clear();
        }
        Ok(process)
    }
}

impl Isolation for Namespace {
    fn rootfs(&self, stage: usize, _tell: &dyn Fn(&str)) -> Result<Rootfs, Error> {
        let rootfs = self.directories.rootfs(stage)?;
        Ok(Rootfs { tree: self.tree(&rootfs.path)?, ..rootfs })
    }

    fn run(&self, rootfs: &Rootfs, process: &Process, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> {
        let process = self.fit(process)?;
        // In a /proc of its own it sees its own processes alone.
        let alone = process.confidential && !self.inside.fresh_proc;
        let _turn = self.turns.take(alone, &self.cancel)?;
        let scratch = self.directories.scratch()?;
        let memory = protocol::memory(&scratch);
        fs::create_dir(&memory).map_err(files("making", &memory))?;
        let has_nodes = self.has_nodes(&rootfs.path);
        let mut stubs = Stubs::new(&rootfs.path);
        let result = plan(&self.host_files, &mut stubs, &process, &scratch).and_then(|mounts| {
            let (root, scratch) = (rootfs.path.clone(), scratch.as_path());
            let place = Place::Namespace { root, mounts, scratch: scratch.to_owned(), has_nodes };
            let spec = Spec { process, place, capabilities: rights::CAPABILITIES.bits() };
            let exit = supervise(&spec, &self.cancel, output)?;
            if has_nodes {
                let devices = protocol::devices(scratch);
                mknod::take_over(&devices, &self.nodes).map_err(files("reading", &devices))?;
            }
            Ok(exit)
        });
        let cleared = stubs.remove().and(self.directories.remove(&scratch));
        let exit = result?;
        cleared.map(|()| exit)
    }

    fn discard(&self, rootfs: Rootfs) -> Result<(), Error> {
        self.directories.remove(&rootfs.path)
    }

    fn holds(&self) -> Capacity {
        Capacity::Many
    }

    fn abilities(&self) -> Abilities {
        Abilities { isolation: "namespace", mounting: Mounting::Mounted }
    }

    fn explain(&self, output: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(output);
        ports::explain(&text).or_else(|| nodes::explain(&text))
    }

    fn tree(&self, path: &Path) -> Result<Tree, rootfs::Error> {
        let tree = Tree::open(path)?;
        Ok(if self.has_nodes(path) { tree.with_nodes(Arc::clone(&self.nodes)) } else { tree })
    }

    fn workspace(&self) -> Result<PathBuf, Error> {
        self.directories.workspace()
    }

    fn finish(&self) -> Result<(), Error> {
        self.directories.remove_all()
    }
}
