//! Where a root file system lives and how a process runs in it: `namespace`, `mediated`, `container`, `chroot`.
//!
//! Isolation has two moments. [`enter()`] is called once, before the process has a second thread: it may
//! replace the process by itself inside a user namespace, so that unpack, COPY and snapshot already run with
//! the right ids. [`Isolation::run`] is called per RUN: it spawns `init` (this same binary), which sets up
//! mounts, root, user and limits, and then executes the command.
//!
//! Knows the kernel's rights and the disk below the state directory. Knows no layers, registries or
//! instructions.
//!
//! *Invariant: when `run` returns, no process that it started is alive, and nothing that it put into the
//! root file system for the process's sake (mount points, device nodes, `resolv.conf`) is left there.*

mod agent;
mod aside;
mod cancel;
mod choose;
mod chroot;
mod container;
mod descendants;
mod directories;
mod enter;
mod error;
mod filter;
mod held;
mod host_files;
mod ids;
mod init;
mod keys;
mod limits;
#[cfg(target_arch = "x86_64")]
mod mediated;
mod mirror;
mod mknod;
mod mountinfo;
mod moves;
mod namespace;
mod nodes;
mod own_program;
mod placed;
mod planned;
mod pod_files;
mod ports;
mod preference;
mod process;
mod protocol;
pub mod put_back;
mod remedy;
mod rights;
mod stubs;
mod supervise;
mod surroundings;
mod turns;
mod volumes;

pub use agent::{Agent, AgentSocket};
pub use cancel::Cancel;
pub use choose::{Chosen, Options, none, open};
pub use descendants::Sender;
pub use enter::{Entered, Ground, Wanted, enter};
pub use error::Error;
pub use ids::outer_user;
pub use init::init_main;
#[cfg(all(any(test, fuzzing), target_arch = "x86_64"))]
pub use mediated::AnyCalls;
pub use mountinfo::kind_at as file_system;
pub use pod_files::WrittenFile;
pub use process::{
    Abilities, Access, Confidential, Environment, Exit, Mount, MountSource, Mounting, Network, Obstacle, Process,
    Resources, User,
};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_files::HostFiles;

use crate::progress::Stream;
use crate::rootfs::{self, Owners, Rootfs, Tree};

/// A place for root file systems, and a way to run processes in them; stages on several threads share it.
pub trait Isolation: Send + Sync {
    /// Makes an empty private root file system for a stage.
    ///
    /// In `container` isolation this is `/`, cleared but for what is not the image's. `tell` hears what takes long.
    fn rootfs(&self, stage: usize, tell: &dyn Fn(&str)) -> Result<Rootfs, Error>;

    /// Runs a process in a root file system until it and all that it started are gone.
    ///
    /// `output` receives what the process writes, as it comes. An exit status other than zero is no error.
    /// Returns [`Error::Interrupted`] when the [`Cancel`] given to [`open`] was used meanwhile.
    fn run(&self, rootfs: &Rootfs, process: &Process, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error>;

    /// Removes a root file system (`container`: clears `/` but for what is not the image's).
    fn discard(&self, rootfs: Rootfs) -> Result<(), Error>;

    /// Tells how many root file systems there can be at a time.
    fn holds(&self) -> Capacity;

    /// Tells what it can do for a process.
    fn abilities(&self) -> Abilities;

    /// Returns what of the executor's container is in the way of a mount: at its target, above or below it.
    fn obstacle(&self, _target: &Path) -> Option<Obstacle> {
        None
    }

    /// Returns the paths at and below which RUN does not see the image's files but the container's own: what a pod
    /// mounts, and what is the executor's. A component may be a pattern. What every container has is not among them.
    fn hiding(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Opens the isolation to take in the place of this one where it would hide files of the image; none where there is
    /// no other, or this one was asked for. To be called when this one holds nothing. `reason` is for the log.
    fn instead(&self, _reason: &str) -> Option<(Box<dyn Isolation>, Chosen)> {
        None
    }

    /// Returns what the last process has written to files that are the image's, but lie under files that are mounted in
    /// the executor's container: nothing of it is found in the root file system.
    fn written(&self) -> Vec<WrittenFile> {
        Vec::new()
    }

    /// Says what of this isolation may be why a command has failed, for whoever reads its output, of which `output` is
    /// the end.
    fn explain(&self, _output: &[u8]) -> Option<String> {
        None
    }

    /// Opens a directory in the workspace, with what tells of its files what the disk cannot say.
    fn tree(&self, path: &Path) -> Result<Tree, rootfs::Error> {
        Tree::open(path)
    }

    /// Returns the table of who owns files, where the disk cannot say it: of root file systems and of what is mounted.
    fn owners(&self) -> Option<Arc<Owners>> {
        None
    }

    /// Returns a directory for what is to be mounted, on the file system that root file systems are on. It is
    /// there once one was asked for, and gone after [`Isolation::finish`].
    fn workspace(&self) -> Result<PathBuf, Error>;

    /// Ends the isolation: removes what is left of root file systems; `container` puts back what stood in `/`.
    ///
    /// To be called however the build ended. Calling it twice does nothing more.
    fn finish(&self) -> Result<(), Error>;
}

/// How many root file systems an isolation can hold at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// One: `/` itself.
    One,
    /// As many as there is disk for.
    Many,
}
