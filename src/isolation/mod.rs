//! Where a root file system lives and how a process runs in it: `namespace`, `container`, `chroot`.
//!
//! Isolation has two moments. [`enter`] is called once, before the process has a second thread: it may
//! replace the process by itself inside a user namespace, so that unpack, COPY and snapshot already run with
//! the right ids. [`Isolation::run`] is called per RUN: it spawns `init` (this same binary), which sets up
//! mounts, root, user and limits, and then executes the command.
//!
//! Knows the kernel's rights and the disk below the state directory. Knows no layers, registries or
//! instructions.
//!
//! *Invariant: when `run` returns, no process that it started is alive, and nothing that it put into the
//! root file system for the process's sake (mount points, device nodes, `resolv.conf`) is left there.*

mod aside;
mod cancel;
mod choose;
mod chroot;
mod container;
mod directories;
mod enter;
mod error;
mod host_files;
mod ids;
mod init;
mod mountinfo;
mod namespace;
mod process;
mod protocol;
mod remedy;
mod stubs;
mod supervise;
mod surroundings;

pub use cancel::Cancel;
pub use choose::{Chosen, Options, open};
pub use enter::{Entered, Ground, enter};
pub use error::Error;
pub use init::init_main;
pub use process::{Exit, Mount, Network, Process, User};

use host_files::HostFiles;

use crate::progress::Stream;
use crate::rootfs::Rootfs;

/// A place for root file systems, and a way to run processes in them; stages on several threads share it.
pub trait Isolation: Send + Sync {
    /// Makes an empty private root file system for a stage.
    ///
    /// In `container` isolation this is `/`, cleared but for what is not the image's.
    fn rootfs(&self, stage: usize) -> Result<Rootfs, Error>;

    /// Runs a process in a root file system until it and all that it started are gone.
    ///
    /// `output` receives what the process writes, as it comes. An exit status other than zero is no error.
    /// Returns [`Error::Interrupted`] when the [`Cancel`] given to [`open`] was used meanwhile.
    fn run(&self, rootfs: &Rootfs, process: &Process, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error>;

    /// Removes a root file system (`container`: clears `/` but for what is not the image's).
    fn discard(&self, rootfs: Rootfs) -> Result<(), Error>;

    /// Tells how many root file systems there can be at a time.
    fn holds(&self) -> Capacity;

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

/// Refuses what only mounts and namespaces of RUN's own can give, where `isolation` has none.
fn only_in_namespaces(process: &Process, isolation: &'static str) -> Result<(), Error> {
    let what = match (process.mounts.is_empty(), process.network) {
        (true, Network::Host) => return Ok(()),
        (false, _) => "a mount for RUN",
        (true, Network::None) => "RUN without a network",
    };
    Err(Error::Unsupported { what, isolation, able: "namespace" })
}
