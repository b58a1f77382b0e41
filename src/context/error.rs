//! Why a build context cannot be had.

use std::io;
use std::path::PathBuf;

use crate::dockerfile::ignore::IgnoreError;
use crate::rootfs;

/// A context, Dockerfile or ignore file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The context or a file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The context is a file.
    #[error("the build context {} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// `--context-sub-path` names no directory of the context.
    #[error("--context-sub-path {}: the build context has no such directory", path.display())]
    NoSubPath {
        /// The sub path.
        path: PathBuf,
    },
    /// There is no Dockerfile.
    #[error("there is no Dockerfile {}: neither in the working directory nor in the build context {}", given.display(), context.display())]
    NoDockerfile {
        /// The path that was given.
        given: PathBuf,
        /// The context's directory.
        context: PathBuf,
    },
    /// A Dockerfile or ignore file is too large to be one.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is taken, in bytes.
        limit: u64,
    },
    /// The ignore file has a line that is no pattern.
    #[error("{} cannot be used", path.display())]
    Ignore {
        /// The ignore file.
        path: PathBuf,
        /// The line and what is wrong with it.
        #[source]
        source: IgnoreError,
    },
    /// The context cannot be read.
    #[error(transparent)]
    Tree(#[from] rootfs::Error),
}
