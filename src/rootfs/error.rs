//! What can go wrong between a layer and the disk.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::image;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{call} of {} failed", path.display())]
    Call {
        /// Its name, e.g. `openat`.
        call: &'static str,
        /// The path it was given, below the tree's own path.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A layer cannot be read or written.
    #[error("cannot read or write a layer of the root file system")]
    Layer {
        /// What is wrong with it.
        #[source]
        source: image::Error,
    },
    /// The content of an entry breaks off.
    #[error("cannot read the content of {} from its layer", path.display())]
    Content {
        /// The entry's path.
        path: PathBuf,
        /// What the layer's stream said.
        #[source]
        source: io::Error,
    },
    /// A hard link has no target.
    #[error("{} is a hard link to {}, which is no file of the image", path.display(), target.display())]
    Link {
        /// The link's path.
        path: PathBuf,
        /// The path it names.
        target: PathBuf,
    },
    /// A file that was to be written to a layer is gone.
    #[error("{} vanished while the layer was written: a process still works in the root file system", path.display())]
    Vanished {
        /// Its path from the root.
        path: PathBuf,
    },
    /// A path names nothing below the root: it is empty, or ends in `..`.
    #[error("{} names no entry of a directory", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// Directories are nested more deeply than can be worked with.
    #[error("{} stands below more than {MAX_DEPTH} directories", path.display())]
    TooDeep {
        /// The directory.
        path: PathBuf,
    },
    /// A file is longer than what its reader can use.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
}

/// How deep directories may be nested: deeper ones need paths that no call takes (PATH_MAX is 4096 bytes, and a name has
/// one byte and a slash at least).
pub(super) const MAX_DEPTH: usize = 2048;

impl Error {
    /// Makes the error of a system call; `path` is the name it was given below `directory`.
    pub(super) fn call(call: &'static str, directory: &Path, name: impl AsRef<Path>, errno: Errno) -> Self {
        Self::Call { call, path: directory.join(name), source: errno.into() }
    }

    /// Returns the kernel's answer where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Call { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Tells whether there was simply nothing at the path.
    pub fn is_not_found(&self) -> bool {
        self.is_one_of(&[Errno::NOENT, Errno::NOTDIR])
    }

    /// Tells whether the kernel answered one of `errnos`.
    pub(super) fn is_one_of(&self, errnos: &[Errno]) -> bool {
        self.errno().is_some_and(|errno| errnos.iter().any(|one| one.raw_os_error() == errno))
    }
}
