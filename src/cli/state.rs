//! The directory for everything temporary of one run.
//!
//! *Invariant: it is made new and private for each run, so that two executors never share one, and it is
//! gone when the run ends by returning, well or not.*

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// A state directory; removed when dropped.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
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
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).create(parent).map_err(error)?;
        }
        DirBuilder::new().mode(0o700).create(path).map_err(error)?;
        Ok(Self { path: path.to_owned() })
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

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

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
