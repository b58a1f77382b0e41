//! Private directories below the state directory: root file systems, and scratch for one RUN.
//!
//! *Invariant: [`Directories::remove_all`] leaves nothing of them.*

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;
use crate::rootfs::{self, Rootfs, RootfsKind};

/// Makes and removes the directories of one build.
#[derive(Debug)]
pub(super) struct Directories {
    base: PathBuf,
    next: AtomicU64,
}

impl Directories {
    /// Prepares for directories below `state`; touches nothing yet.
    pub(super) fn new(state: &Path) -> Self {
        Self { base: state.join("isolation"), next: AtomicU64::new(0) }
    }

    /// Makes an empty root file system for a stage.
    pub(super) fn rootfs(&self, stage: usize) -> Result<Rootfs, Error> {
        let path = self.make(&format!("rootfs-{stage}"))?;
        // The root of an image is open to all, whatever the umask of the executor.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(files("opening", &path))?;
        Ok(Rootfs::open(&path, Vec::new(), RootfsKind::Plain)?)
    }

    /// Makes an empty directory that only the executor's user may enter.
    pub(super) fn scratch(&self) -> Result<PathBuf, Error> {
        self.make("run")
    }

    /// Returns the directory for what lasts longer than one RUN; only the executor's user may enter it.
    pub(super) fn workspace(&self) -> Result<PathBuf, Error> {
        let path = self.base.join("workspace");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(files("making", &path))?;
        Ok(path)
    }

    /// Makes an empty directory with a short path, for the names of sockets.
    pub(super) fn short(&self) -> Result<PathBuf, Error> {
        self.make("s")
    }

    /// Returns the directory that all others are in.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    fn make(&self, name: &str) -> Result<PathBuf, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.base.join(format!("{name}-{number}"));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(files("making", &path))?;
        Ok(path)
    }

    /// Removes one directory with all in it.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        remove_tree(path).map_err(files("removing", path))
    }

    /// Removes every directory made.
    pub(super) fn remove_all(&self) -> Result<(), Error> {
        self.remove(&self.base)
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    rootfs::remove(path).map(drop).map_err(io::Error::other)
}

/// Makes the error of a file operation.
pub(super) fn files(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Files { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_made_is_gone_in_the_end() {
        let state = tempfile::tempdir().unwrap();
        let directories = Directories::new(state.path());
        let first = directories.rootfs(0).unwrap();
        let second = directories.rootfs(0).unwrap();
        assert_ne!(first.path, second.path);
        assert_eq!(fs::read_dir(&first.path).unwrap().count(), 0);
        assert_eq!(fs::metadata(&first.path).unwrap().permissions().mode() & 0o7777, 0o755);
        directories.remove(&first.path).unwrap();
        directories.remove(&first.path).unwrap();
        directories.scratch().unwrap();
        directories.remove_all().unwrap();
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
