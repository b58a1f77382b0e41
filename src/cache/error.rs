//! What can go wrong with a cache; nothing of it ends a build.

use std::io;
use std::path::PathBuf;

use crate::{registry, store};

/// A cache that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be made or written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A registry fails.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A store of blobs fails.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An entry is not what it should be.
    #[error("the entry {entry} is refused: {reason}")]
    Refused {
        /// Which one.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry has no seal, and only those with one count.
    #[error("the entry {entry} has no seal of the cache's key")]
    Unsealed {
        /// Which one.
        entry: String,
    },
    /// The build is being ended.
    #[error("the build was interrupted")]
    Interrupted,
}

impl Error {
    /// Makes the error of an entry that is not what it should be.
    pub(super) fn refused(entry: &impl ToString, reason: impl Into<String>) -> Self {
        Self::Refused { entry: entry.to_string(), reason: reason.into() }
    }

    /// Tells whether a registry does not let us.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Registry(error) if error.kind() == registry::ErrorKind::Denied)
    }

    /// Tells whether a registry does not answer, or says that it fails for now.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Registry(error) if error.kind() == registry::ErrorKind::Transient)
    }
}
