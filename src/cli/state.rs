//! The directory for everything temporary of one run.
//!
//! *Invariant: it is made new and private for each run, so that two executors never share one, and it is
//! gone when the run ends by returning, well or not. What a run that was killed left behind, the next one beside
//! it removes: a run holds a lock on its directory as long as it lives.*

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::env::TOKEN_LENGTH;

/// What the name of a run's directory begins with; the run's token follows.
pub const PREFIX: &str = "yadokari-";

/// A state directory; removed when dropped.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// Locked while the run lives.
    _lock: File,
}

/// A state directory that could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the state directory {}", .path.display())]
pub struct Error {
    /// What was being done.
    pub doing: &'static str,
    /// The directory.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl StateDirectory {
    /// Makes the directory, which must not exist, and the directories above it, which may.
    ///
    /// # Errors
    /// [`Error`] when it exists or cannot be made.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let error = |source| Error { doing: "make", path: path.to_owned(), source };
        let parent = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).create(parent).map_err(error)?;
        remove_abandoned(parent);
        // Nobody takes it for one that was left behind before it is locked: it has another name until then. A lock on
        // the parent would be for others to hold, where that is shared.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = path.with_file_name(format!(".new-{name}"));
        DirBuilder::new().mode(0o700).create(&new).map_err(error)?;
        let locked = open_directory(&new).and_then(|lock| {
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            // An empty directory would give way.
            match std::fs::symlink_metadata(path) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => std::fs::rename(&new, path).map(|()| lock),
            }
        });
        let lock = locked.map_err(|source| {
            // The error that made it useless is told.
            let _ = std::fs::remove_dir(&new);
            error(source)
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory and all below it; dropping does the same without telling what went wrong.
    ///
    /// # Errors
    /// [`Error`] when something below cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        remove(&self.path).map_err(|source| Error { doing: "remove", path: self.path.clone(), source })
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        // Dropped on the way out of an error, which is the one to tell.
        let _ = remove(&self.path);
    }
}

/// Removes the directories of runs that are dead. What cannot be removed stays: it is nobody's trouble but the disk's.
fn remove_abandoned(parent: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| is_of_a_run(&entry.file_name())) {
        let Ok(directory) = open_directory(&entry.path()) else { continue };
        let is_own = directory.metadata().is_ok_and(|found| found.uid() == own);
        if is_own && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove(&entry.path());
        }
    }
}

/// Opens a directory; anything else is refused, and a named pipe is not waited for.
fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn is_of_a_run(name: &OsStr) -> bool {
    let token = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    token.is_some_and(|token| token.len() == TOKEN_LENGTH && token.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn remove(path: &Path) -> io::Result<()> {
    crate::rootfs::remove(path).map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_a_dead_run_left_is_removed_and_what_lives_is_not() {
        let base = tempfile::tempdir().expect("tempdir");
        let path = |token: &str| base.path().join(format!("{PREFIX}{token}"));
        let dead = path("0123456789abcdef");
        std::fs::create_dir(&dead).expect("create");
        std::fs::create_dir(path("inventories")).expect("create");
        let alive = StateDirectory::create(&path("1123456789abcdef")).expect("create");
        let other = StateDirectory::create(&path("2123456789abcdef")).expect("create");
        assert!(!dead.exists() && path("inventories").exists());
        assert!(alive.path().exists() && other.path().exists());
    }

    #[test]
    fn it_is_private_new_and_gone_at_the_end() {
        let base = tempfile::tempdir().expect("tempdir");
        let path = base.path().join("new/run");
        let state = StateDirectory::create(&path).expect("create");
        assert_eq!(std::fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o700);
        assert!(StateDirectory::create(&path).is_err(), "two runs share a directory");
        std::fs::write(state.path().join("file"), "x").expect("write");
        state.remove().expect("remove");
        assert!(!path.exists());
        drop(StateDirectory::create(&path).expect("again"));
        assert!(!path.exists());
    }
}
