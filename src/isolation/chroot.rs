//! `chroot` isolation: private root file systems, and chroot(2) for each RUN, where neither namespaces nor
//! mounts are allowed.
//!
//! There is no `/proc` and no `/sys`, and of `/dev` only what mknod(2) is allowed to make. `resolv.conf` and
//! `hosts` are files for the time of the RUN; the image's own come back, and what RUN does to them is lost, as
//! it is where they are mounts.
//!
//! *Invariant: as in every isolation, nothing that was put into the root file system for RUN stays there.*

use std::path::{Path, PathBuf};

use super::directories::Directories;
use super::nodes::DEVICES;
use super::protocol::{Place, Spec};
use super::stubs::Stubs;
use super::supervise::supervise;
use super::turns::Turns;
use super::{
    Abilities, Access, Cancel, Capacity, Error, Exit, HostFiles, Isolation, Mounting, Process, Stream, placed,
};
use crate::rootfs::Rootfs;
use crate::sys::process::CapabilitySet;

/// What a command may have lacked.
const WITHOUT: &str = "RUN has no /proc and no /sys in chroot isolation: what reads them (ps, df, `<(…)` of shells, \
    scripts of Java packages) fails there; with --isolation mediated or namespace, where a pod allows them, and in container \
    isolation it has them: for that, mount volumes where the image has nothing, the context at /context for example \
    (--context=/context)";

/// The backend.
#[derive(Debug)]
pub(super) struct Chroot {
    directories: Directories,
    host_files: HostFiles,
    /// What RUN may have.
    capabilities: CapabilitySet,
    turns: Turns,
    cancel: Cancel,
}

impl Chroot {
    /// Prepares for root file systems below `state`; touches nothing yet.
    pub(super) fn new(state: &Path, host_files: HostFiles, capabilities: CapabilitySet, cancel: Cancel) -> Self {
        Self { directories: Directories::new(state), host_files, capabilities, turns: Turns::default(), cancel }
    }

    fn furnish(&self, stubs: &mut Stubs, process: &Process, scratch: &Path) -> Result<(), Error> {
        for (name, major, minor) in DEVICES {
            let path = Path::new("/dev").join(name);
            if !stubs.device(&path, major, minor)? && !stubs.exists(&path) {
                // The first refusal is that of all.
                break;
            }
        }
        for (number, (path, content)) in self.host_files.with(&process.hosts).iter().enumerate() {
            stubs.replace(Path::new(path), content, Access::FILE, &scratch.join(number.to_string()))?;
        }
        placed::place(stubs, &process.mounts, scratch, self.abilities())
    }
}

impl Isolation for Chroot {
    fn rootfs(&self, stage: usize, _tell: &dyn Fn(&str)) -> Result<Rootfs, Error> {
        self.directories.rootfs(stage)
    }

    fn run(&self, rootfs: &Rootfs, process: &Process, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> {
        placed::refuse_namespaces(process, self.abilities())?;
        let _turn = self.turns.take(process.confidential, &self.cancel)?;
        let scratch = self.directories.scratch()?;
        let mut stubs = Stubs::new(&rootfs.path);
        let result = self.furnish(&mut stubs, process, &scratch).and_then(|()| {
            let place = Place::Chroot { root: rootfs.path.clone() };
            supervise(
                &Spec { process: process.clone(), place, capabilities: self.capabilities.bits() },
                &self.cancel,
                output,
            )
        });
        // The image's own files come out of the scratch directory, so it goes only when they are back.
        let cleared = stubs.remove().and_then(|()| self.directories.remove(&scratch));
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
        Abilities { isolation: "chroot", mounting: Mounting::Moved }
    }

    fn explain(&self, _output: &[u8]) -> Option<String> {
        Some(WITHOUT.to_owned())
    }

    fn workspace(&self) -> Result<PathBuf, Error> {
        self.directories.workspace()
    }

    fn finish(&self) -> Result<(), Error> {
        self.directories.remove_all()
    }
}
